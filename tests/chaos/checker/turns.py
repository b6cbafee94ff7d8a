"""Rules over the numbered frames of turns: order, restarts, cancels and ends."""

import re
from typing import Final

from .parties import Client
from .state import State
from .tracks import End, Frame, Socket, Track

CANCEL_S: Final = 2.0
"""An answer that still goes on so long after a cancel, without a fault, has not heard it."""
EXPIRY_S: Final = 0.05
"""Clocks of a client and a gateway may differ by so much about the length of a deadline."""
RUNS_PER_FAULT: Final = 2
"""One fault may make both the first stage's job and the one after it run again, each of them anew."""
WORDS: Final = re.compile(r"(?<!\S)tokens=(\d+)(?!\S)")
SALT: Final = re.compile(r"(?<!\S)salt(?!\S)")
RUN: Final = re.compile(r"\.([0-9a-f]{6})\.t\d", re.ASCII)
BEGUN_S: Final = 0.4
"""Two gateways may hear of a new run at times as far apart as this."""
STILL_S: Final = 10.0
"""An answer that only killed workers interrupt stands still no longer than this, on a busy machine too."""
KILLED_WORKERS: Final = frozenset({"kill-rag", "kill-inference"})
"""Faults that leave every gateway, and the links to it, as they are."""


def own(state: State, client: Client, turn: str, at: float, kind: str) -> bool:
    """Whether the turn belongs to the client's session; where it does not, that is a breach."""
    session = client.session
    if session.partial or turn in session.starts or turn in session.asked:
        return True
    state.breach("foreign-turn", client, turn, at, f"{kind} of a turn that nobody asked in this session")
    return False


def turn_frame(state: State, client: Client, socket: Socket, frame: Frame, kind: str, at: float) -> None:
    """The next numbered frame that a client has read."""
    turn = frame["turn"]
    track = client.tracks.get(turn)
    if track is None:
        if not own(state, client, turn, at, kind):
            return
        track = state.track(client, turn)
    client.note_position(frame["position"], turn, frame["seq"], at)
    if track.question is not None and track.question != client.session.questions[turn]:
        state.breach("conflict", client, turn, at, f"{kind} for a question that is not this turn's")
        return
    _order(state, client, track, kind, at)
    _still(state, client, track, at)
    if not track.take(frame, kind, socket, at):
        return
    if kind == "answer.delta":
        _delta(state, client, track, at)
        _fenced(state, client, track, frame["text"], at)
    elif kind == "turn.restarted":
        _restarted(state, client, track, at)
    elif kind == "turn.done":
        _done(state, client, track, frame, at)


def _order(state: State, client: Client, track: Track, kind: str, at: float) -> None:
    """Turns of a session one after another, in the order of asking. A turn found waiting is passed over after."""
    line = client.line
    if track.turn not in line:
        return
    first = next(iter(line))
    if first != track.turn:
        state.breach("overlap", client, track.turn, at, f"{kind} before the turn {first} was done")
        del line[first]


def _still(state: State, client: Client, track: Track, at: float) -> None:
    """Another worker takes an answer over at once. A turn is held where a fault is aimed at it, and waits from there;
    any other from its last frame, once it answers.
    """
    before, track.read_at = track.read_at, at
    aimed = state.faults.aimed_at(track.turn)
    if client.session.partial or track.end is not None or (aimed is None and track.first_at is None):
        return
    before = max(before if before is not None else at, aimed or 0.0)
    names = set(state.faults.names(before, at, track.turn))
    if at - before > STILL_S and names and names <= KILLED_WORKERS:
        state.breach("stalled", client, track.turn, at, f"nothing for {at - before:.1f} s")


def _delta(state: State, client: Client, track: Track, at: float) -> None:
    cancelled = client.session.cancels.get(track.turn)
    if cancelled is None or at - cancelled < CANCEL_S or track.end is not None:
        return
    if not _explained(state, client, track.turn, cancelled, at):
        what = f"the answer goes on {at - cancelled:.1f} s after the cancel"
        state.breach("cancel-ignored", client, track.turn, at, what)


def _fenced(state: State, client: Client, track: Track, text: str, at: float) -> None:
    """Once a run's words have been read by anyone of the session, no earlier run speaks to anybody in it."""
    began = client.session.runs.setdefault(track.turn, {})
    runs = dict.fromkeys(RUN.findall(text))
    for run in runs:
        began.setdefault(run, at)
    if len(began) < 2:
        return
    last, since = next(reversed(began.items()))
    late = [run for run in runs if run != last]
    sound = all(name.endswith(("-rag", "-inference")) for name in state.faults.names(track.sent_at or 0.0, at))
    if late and sound and at - since > BEGUN_S and not client.session.partial:
        what = f"run {late[0]!r} speaks {at - since:.1f} s after run {last!r} has begun"
        state.breach("fenced", client, track.turn, at, what)


def _restarted(state: State, client: Client, track: Track, at: float) -> None:
    track.restarts.append(at)
    state.counts["restarts"] += 1
    if client.session.cancels.get(track.turn) is None:
        _explain(state, client, track, at)


def _explain(state: State, client: Client, track: Track, at: float) -> None:
    faults = state.faults.between(track.sent_at if track.sent_at is not None else 0.0, at, track.turn)
    if len(track.restarts) > RUNS_PER_FAULT * faults and not client.session.partial:
        what = f"{len(track.restarts)} restarts, {faults} faults since it was asked"
        state.breach("restart", client, track.turn, at, what)
    if faults and track.question is not None and not SALT.search(track.question):
        _seamless(state, client, track, at)


def _seamless(state: State, client: Client, track: Track, at: float) -> None:
    """Every run of this turn says the same, and its gateway could tell the next run what it had delivered."""
    names = set(state.faults.names(track.sent_at or 0.0, at, track.turn))
    if names <= KILLED_WORKERS and not client.session.partial:
        state.breach("seamless", client, track.turn, at, f"it starts anew although only {', '.join(sorted(names))}")


def _explained(state: State, client: Client, turn: str, since: float, until: float) -> bool:
    """Whether a fault, or something before the history, may be the cause."""
    return client.session.partial or state.faults.between(since, until, turn) > 0


def _done(state: State, client: Client, track: Track, frame: Frame, at: float) -> None:
    client.line.pop(track.turn, None)
    session = client.session
    asked = session.asked.get(track.turn)
    words = WORDS.search(session.questions.get(track.turn, ""))
    told_before = track.end is not None
    track.close(frame, at, asked.tag if asked is not None else "", int(words[1]) if words else 0)
    end = End.of(frame)
    first = session.ends.setdefault(track.turn, end)
    if differs := end.differs(first):
        state.breach("two-answers", client, track.turn, at, differs)
    state.counts["told again"] += told_before
    if not told_before:
        _status(state, client, track, frame, at)


def _status(state: State, client: Client, track: Track, frame: Frame, at: float) -> None:
    session, status = client.session, frame["status"]
    asked = session.asked.get(track.turn)
    since = asked.at if asked is not None else track.sent_at or 0.0
    cancelled = session.cancels.get(track.turn)
    if status == "cancelled" and cancelled is None and not session.partial:
        state.breach("uncalled-cancel", client, track.turn, at, "nobody cancelled this turn")
    if cancelled is not None and track.restarts and track.restarts[-1] > cancelled:
        if status != "cancelled":
            _explain(state, client, track, at)
        elif track.turn in client.cancelled and not _explained(state, client, track.turn, since, at):
            state.breach("cancel-text", client, track.turn, at, "the text was taken back after the cancel")
    if status == "failed":
        fault = frame.get("fault") or {}
        if not fault.get("message"):
            state.breach("failed", client, track.turn, at, "no reason is given")
        elif not _explained(state, client, track.turn, since, at):
            state.breach("failed", client, track.turn, at, f"without any fault: {fault['message']}")
    if status == "expired" and asked is not None and at - asked.at < asked.budget_s - EXPIRY_S:
        what = f"after {at - asked.at:.2f} s of {asked.budget_s:g} s"
        state.breach("expired-early", client, track.turn, at, what)
