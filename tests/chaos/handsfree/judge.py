"""What a conversation hands free must have been, whatever happened to the installation meanwhile. Pure.

Each finding is a sentence; none: every promise was kept. Nothing was promised before ``turn.accepted``: where the
gateway of a line has gone before that (``mortal``), the line is said again, and may have been asked before that too.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .seen import Audio, Frame, Lost, Said, Saying, Talk

SENTENCE = 30
"""Code points, at most: what was heard may exceed what was sent by a part of a sentence, and after it was held up an
answer goes on with a word that had been begun.
"""


@dataclass
class Told:
    """One turn, as it was told."""

    next_seq: int = 0
    text: str = ""
    finals: list[str] = field(default_factory=list)
    accepted: bool = False
    ends: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Played:
    """Audio of one answer on one socket."""

    next_at: int = 0
    back_to: int = 0
    """The next audio may come from here on; as :attr:`next_at`, but for what was held up."""
    most: int = 0
    """Samples sent, at most."""
    over: str = ""
    """What has ended it."""
    held: bool = False
    """By a flush that did not end it."""
    went_on: bool = False
    """Some came after that."""


@dataclass(frozen=True)
class Scale:
    """Of spoken answers: samples of a second, and milliseconds of a character."""

    rate: int
    char_ms: int

    @property
    def char(self) -> int:
        return self.rate * self.char_ms // 1000


class Hearing:
    """Goes through what was seen, once."""

    def __init__(self, talk: Talk, scale: Scale, *, mortal: bool) -> None:
        self.broken: list[str] = []
        self.turns: dict[str, Told] = {}
        self.played: dict[str, Played] = {}
        self.losses = 0
        self.again: Counter[str] = Counter()
        """How often each line may have been asked beyond the once."""
        self._talk = talk
        self._scale = scale
        self._mortal = mortal
        self._open: set[int] = set()
        """Lines that are being said and not accepted."""
        for sight in talk.sights:
            match sight:
                case Saying():
                    self._open.add(sight.line)
                case Said():
                    pass
                case Frame():
                    self._frame(sight.data)
                case Audio():
                    self._audio(sight)
                case Lost():
                    self._lost()

    def _lost(self) -> None:
        self.losses += 1
        if not self._mortal:
            self.broken.append("the socket was lost")
        self.again.update(self._talk.lines[line].text for line in self._open)
        self.played.clear()
        for turn in [turn for turn, told in self.turns.items() if not told.accepted]:
            del self.turns[turn]  # nothing was promised of it

    def _frame(self, frame: dict[str, Any]) -> None:
        kind, turn = frame["type"], frame.get("turn", "")
        if kind == "welcome" and frame.get("gap"):
            for told in self.turns.values():
                if not told.ends:
                    told.next_seq, told.text = 0, ""
                    told.finals.clear()
        elif kind == "error":
            self._error(frame)
        elif kind == "turn.accepted":
            self.turns.setdefault(turn, Told()).accepted = True
            self._settled(turn)
        elif kind in ("answer.flush", "answer.spoken"):
            self._playing(frame)
        elif "seq" in frame:
            self._event(frame, self.turns.setdefault(turn, Told()))

    def _error(self, frame: dict[str, Any]) -> None:
        if not frame.get("retryable", True):
            self.broken.append(f"error {frame['code']} of {frame.get('turn')}: {frame['message']}")
        elif not self._mortal:
            self.broken.append(f"error {frame['code']}: the stream was given up")

    def _event(self, frame: dict[str, Any], told: Told) -> None:
        turn = frame["turn"]
        if told.ends:
            self.broken.append(f"{frame['type']} of {turn} after its end")
        if frame["seq"] != told.next_seq:
            self.broken.append(f"seq {frame['seq']} of {turn} in place of {told.next_seq}")
        told.next_seq = frame["seq"] + 1
        match frame["type"]:
            case "transcript.final":
                told.finals.append(frame["text"])
                self._settled(turn)
            case "answer.delta":
                told.text += frame["text"]
            case "turn.restarted":
                told.text = ""
            case "turn.done":
                told.ends.append(frame)
                if told.text != frame["text"]:
                    self.broken.append(f"the deltas of {turn} are not its text")

    def _settled(self, turn: str) -> None:
        """Whose words they are is known, once it has been accepted."""
        told = self.turns[turn]
        if told.accepted:
            self._open -= {line for line in self._open if self._talk.lines[line].text in told.finals}

    def _audio(self, audio: Audio) -> None:
        played = self.played.setdefault(audio.turn, Played())
        if played.over:
            self.broken.append(f"audio of {audio.turn} after {played.over}")
        if not played.back_to <= audio.at <= played.next_at:
            self.broken.append(f"audio of {audio.turn} at {audio.at} in place of {played.next_at}")
        played.next_at = played.back_to = audio.at + audio.samples
        played.most = max(played.most, played.next_at)
        played.went_on = played.held

    def _playing(self, frame: dict[str, Any]) -> None:
        played = self.played.setdefault(frame["turn"], Played())
        if played.over:
            self.broken.append(f"{frame['type']} of {frame['turn']} after {played.over}")
        if frame["type"] == "answer.spoken" or frame.get("ended"):
            played.over = "the flush that ended it" if frame.get("ended") else "all of it"
            return
        played.held, played.went_on = True, False
        per_ms = self._scale.rate // 1000
        played.next_at = min(played.next_at, (frame["ms"] + 1) * per_ms)
        played.back_to = max(0, frame["ms"] * per_ms - SENTENCE * self._scale.char)


def judge(talk: Talk, scale: Scale, *, mortal: bool) -> list[str]:
    """Everything that was broken."""
    seen = Hearing(talk, scale, mortal=mortal)
    broken = seen.broken
    if not talk.over:
        broken.append("no end")
    broken += _asked(talk, seen)
    for turn, told in seen.turns.items():
        broken += _turn(talk, turn, told)
        broken += _heard(talk, turn, told, seen.played.get(turn), seen.losses, scale.char)
    return broken + _held(talk, seen)


def _asked(talk: Talk, seen: Hearing) -> list[str]:
    """Each line once, as it was said, in the order in which they were said."""
    broken: list[str] = []
    lines = [line.text for line in talk.lines if not line.backchannel]
    asked = [row.question for row in talk.rows]
    for text, times in Counter(asked).items():
        most = 1 + seen.again[text] if text in lines else 0
        if times > most:
            broken.append(f"asked {times} times: {text!r}")
    broken += [f"never asked: {text!r}" for text in lines if text not in asked]
    places = [lines.index(text) for text in asked if text in lines]
    if places != sorted(places):
        broken.append(f"asked in the order {asked}")
    return broken


def _turn(talk: Talk, turn: str, told: Told) -> list[str]:
    """An accepted turn has one end, which is what is stored; so has whatever else was told to its end."""
    if not told.accepted and not told.ends:
        return [f"{turn} was told as {told.finals}, and came to nothing"] if told.finals else []
    broken: list[str] = []
    if len(told.ends) != 1:
        return [f"{turn} has {len(told.ends)} ends"]
    (done,) = told.ends
    rows = [row for row in talk.rows if row.turn == turn]
    if len(rows) != 1:
        return [f"{turn} is stored {len(rows)} times"]
    (row,) = rows
    if (row.status, row.text) != (done["status"], done["text"]):
        broken.append(f"{turn} was told {done['status']}, stored {row.status}: {row.text!r}")
    if set(told.finals) != {row.question}:
        broken.append(f"{turn} was heard as {told.finals}, asked as {row.question!r}")
    if done["status"] != "completed" and not (done["status"] == "cancelled" and _interrupted(talk, row.question)):
        broken.append(f"{turn} ended {done['status']}")
    return broken


def _interrupted(talk: Talk, question: str) -> bool:
    """Whether the next line was said over the answer, and was no backchannel."""
    lines = talk.lines
    return any(
        line.text == question and following.over and not following.backchannel
        for line, following in itertools.pairwise(lines)
    )


def _heard(talk: Talk, turn: str, told: Told, played: Played | None, losses: int, char: int) -> list[str]:
    """What is remembered of an interrupted answer is no more than what was delivered, and what was sent as sound."""
    row = next((row for row in talk.rows if row.turn == turn), None)
    if row is None or not told.ends:
        return []
    if row.heard is None:
        ended = played is not None and played.over.startswith("the flush") and row.status == "cancelled"
        return [f"what was heard of {turn} is not kept"] if ended and not losses else []
    if row.heard > len(row.text):
        return [f"{row.heard} of {len(row.text)} characters heard of {turn}"]
    if played is not None and not losses and row.heard > played.most // char + SENTENCE:
        return [f"{row.heard} characters heard of {turn}, of which {played.most // char} were sent"]
    return []


def _held(talk: Talk, seen: Hearing) -> list[str]:
    """An answer that a backchannel held up goes on, where its socket is still there."""
    over = [before.text for before, line in itertools.pairwise(talk.lines) if line.over and line.backchannel]
    broken = []
    for row in talk.rows:
        played = seen.played.get(row.turn)
        if row.question not in over or played is None or not played.held:
            continue
        if not played.went_on and played.over != "all of it":
            broken.append(f"{row.turn} did not go on after the backchannel")
    return broken
