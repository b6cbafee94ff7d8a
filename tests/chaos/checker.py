"""Judges a run from what its clients sent and received, and from when faults were injected. Knows nothing of Parley's
insides and imports nothing of it: a guarantee is what this file says it is (``verdict.RULES``), not what code does.

One pass, linear in the history. A history that begins late or breaks off is judged as far as it goes: what may lie
outside it is not held against anyone, and without ``Finished`` nothing is lost.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

from .findings import Findings
from .frames import TURN_FRAMES, flaw
from .history import (
    Asked,
    Closed,
    Finished,
    Happening,
    Healed,
    Injected,
    Opened,
    Received,
    Reread,
    Sent,
)
from .parties import Client, Faults, Session
from .tracks import End, Frame, Socket, Track
from .verdict import Told, Verdict

WINDOW_S: Final = 600.0
"""How long a client may be away and still get exactly what it missed."""
CANCEL_S: Final = 2.0
"""An answer that still goes on so long after a cancel, without a fault, has not heard it."""
EXPIRY_S: Final = 0.05
"""Clocks of a client and a gateway may differ by so much about the length of a deadline."""
RUNS_PER_FAULT: Final = 2
"""One fault may make both the first stage's job and the one after it run again, each of them anew."""
REFUSALS: Final = frozenset(
    {"overloaded", "unavailable", "rate_limited", "conflict", "unknown_kb", "unknown_turn", "too_large", "invalid"}
)
"""Codes that refuse something a client may well do."""
WORDS: Final = re.compile(r"(?<!\S)tokens=(\d+)(?!\S)")


def judge(happenings: Iterable[Happening]) -> Verdict:
    """The verdict over one run."""
    judge = Judge()
    for happening in happenings:
        judge.take(happening)
    return judge.verdict()


class Judge:
    """Give every happening to :meth:`take`, in order; then ask for the :meth:`verdict`, once."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.findings = Findings()
        self.faults = Faults()
        self.clients: dict[str, Client] = {}
        self.sessions: dict[str, Session] = {}
        self.finished: float | None = None
        self.last = 0.0
        self._takes: dict[type, Callable[[Any], None]] = {
            Asked: self._asked,
            Opened: self._opened,
            Sent: self._sent,
            Received: self._received,
            Closed: self._closed,
            Reread: self._reread,
            Injected: self.faults.injected,
            Healed: self.faults.healed,
            Finished: self._finished,
        }
        self._plain: dict[str, Callable[[Client, Socket, Frame, float], None]] = {
            "welcome": self._welcome,
            "turn.accepted": self._accepted,
            "error": self._error,
            "degraded": self._degraded,
            "restored": self._restored,
        }

    def take(self, happening: Happening) -> None:
        """After ``Finished`` only rereads count: sockets that close then are nobody's fault."""
        if self.finished is None or isinstance(happening, Reread):
            self.last = max(self.last, happening.at)
            self._takes[type(happening)](happening)

    def _client(self, name: str) -> Client:
        if name not in self.clients:
            self.clients[name] = Client(name, Session())
        return self.clients[name]

    def _track(self, client: Client, turn: str) -> Track:
        track = client.tracks.get(turn)
        if track is None:
            track = client.tracks[turn] = Track(client.name, turn, self.findings)
        return track

    def _breach(self, rule: str, client: Client, turn: str, at: float, what: str) -> None:
        self.findings.breach(rule, client.name, turn, at, what)

    # --- what clients do --------------------------------------------------------------------------------------

    def _asked(self, asked: Asked) -> None:
        client = self._client(asked.client)
        self._track(client, asked.turn).asked = asked
        client.session.asked.setdefault(asked.turn, asked)

    def _opened(self, opened: Opened) -> None:
        client = self._client(opened.client)
        client.open(opened.socket)
        self.findings.note(opened)
        self.counts["sockets"] += 1

    def _sent(self, sent: Sent) -> None:
        client, frame = self._client(sent.client), sent.frame
        self.findings.note(sent)
        socket, turn = client.socket(sent.socket), str(frame.get("turn"))
        match frame.get("type"):
            case "hello":
                client.greet(socket, frame)
                if socket.unknown or frame.get("session") not in (None, *self.sessions):
                    client.session.partial = True
            case "turn.start":
                self._start(client, socket, turn, frame, sent.at)
            case "turn.cancel":
                client.session.cancels[turn] = sent.at
            case _:
                pass

    def _start(self, client: Client, socket: Socket, turn: str, frame: Frame, at: float) -> None:
        track, session = self._track(client, turn), client.session
        question = str(frame.get("text"))
        session.questions.setdefault(turn, question)
        session.starts[turn] += 1
        socket.starts.add(turn)
        if frame.get("interrupt"):
            for other in client.line:
                session.cancels[other] = at
        if track.sent_at is None:
            track.sent_at = at
        if track.end is None:
            if track.refused or turn not in client.line:
                client.line.pop(turn, None)
                client.line[turn] = track
            track.refused = ""
        track.question = question

    def _closed(self, closed: Closed) -> None:
        client = self._client(closed.client)
        self.findings.note(closed)
        client.close(closed)
        self.counts["dropped by the client" if closed.own else f"closed {closed.code}"] += 1
        if not closed.own and closed.code != 1006 and not 4000 <= closed.code <= 4099:
            self._breach("close-code", client, "", closed.at, f"socket {closed.socket} was closed with {closed.code}")

    # --- what clients are told --------------------------------------------------------------------------------

    def _received(self, received: Received) -> None:
        client, frame, at = self._client(received.client), received.frame, received.at
        self.findings.note(received)
        self.counts["frames"] += 1
        socket = client.socket(received.socket)
        if wrong := flaw(frame):
            self._breach("malformed", client, str(frame.get("turn", "")), at, wrong)
            return
        kind = frame["type"]
        if kind in TURN_FRAMES:
            self._turn_frame(client, socket, frame, kind, at)
        elif kind in self._plain:
            self._plain[kind](client, socket, frame, at)

    def _welcome(self, client: Client, socket: Socket, frame: Frame, at: float) -> None:
        hello = socket.hello or {}
        asked, given = hello.get("session"), str(frame["session"])
        session = self.sessions.setdefault(given, client.session if client.session.id in ("", given) else Session())
        if asked is not None and asked != given:
            self._breach("session-lost", client, "", at, "the session that hello named was not taken up")
        elif frame["gap"]:
            self._gap(client, socket, hello, at)
        client.join(session, given)
        socket.gap = bool(frame["gap"])
        self.counts["resumes"] += asked is not None

    def _gap(self, client: Client, socket: Socket, hello: Frame, at: float) -> None:
        self.counts["gaps said"] += 1
        read_at = client.read_at(str(hello.get("position")))
        if read_at is not None and at - read_at < WINDOW_S:
            turn = socket.base[0] if socket.base is not None else ""
            self._breach("early-gap", client, turn, at, f"gap said {at - read_at:.1f} s after the position was read")

    def _accepted(self, client: Client, socket: Socket, frame: Frame, at: float) -> None:
        turn = frame["turn"]
        if not self._own(client, turn, at, "turn.accepted"):
            return
        track, session = self._track(client, turn), client.session
        track.accepted += 1
        if track.accepted_at is None:
            track.accepted_at = at
        if not session.partial and track.accepted > session.starts[turn]:
            what = f"{track.accepted} times accepted, {session.starts[turn]} times asked"
            self._breach("accepted-twice", client, turn, at, what)

    def _own(self, client: Client, turn: str, at: float, kind: str) -> bool:
        """Whether the turn belongs to the client's session."""
        session = client.session
        if session.partial or turn in session.starts or turn in session.asked:
            return True
        self._breach("foreign-turn", client, turn, at, f"{kind} of a turn that nobody asked in this session")
        return False

    def _error(self, client: Client, socket: Socket, frame: Frame, at: float) -> None:
        code, turn = frame["code"], frame.get("turn")
        self.counts[f"refused {code}"] += 1
        if code not in REFUSALS:
            self._breach("error", client, str(turn or ""), at, f"{code}: {frame['message']}")
        if code == "overloaded" and not frame.get("retry_after_ms"):
            self._breach("retry-time", client, str(turn or ""), at, "overloaded without retry_after_ms")
        track = client.tracks.get(turn) if turn is not None else None
        if track is None or code == "unknown_turn" or track.end is not None:
            return
        if code == "conflict" or not track.spoken:
            track.refused = code
            client.line.pop(track.turn, None)

    def _degraded(self, client: Client, socket: Socket, frame: Frame, at: float) -> None:
        self.counts["degraded"] += 1
        if socket.degraded:
            self._breach("outage-pair", client, "", at, "degraded was said twice without restored between")
        socket.degraded = True

    def _restored(self, client: Client, socket: Socket, frame: Frame, at: float) -> None:
        if not socket.degraded and not socket.unknown:
            self._breach("outage-pair", client, "", at, "restored was said without degraded before")
        socket.degraded = False

    # --- turns ------------------------------------------------------------------------------------------------

    def _turn_frame(self, client: Client, socket: Socket, frame: Frame, kind: str, at: float) -> None:
        turn = frame["turn"]
        track = client.tracks.get(turn)
        if track is None:
            if not self._own(client, turn, at, kind):
                return
            track = self._track(client, turn)
        client.note_position(frame["position"], turn, frame["seq"], at)
        if track.question is not None and track.question != client.session.questions[turn]:
            self._breach("conflict", client, turn, at, f"{kind} for a question that is not this turn's")
            return
        self._order(client, track, kind, at)
        if not track.take(frame, kind, socket, at):
            return
        if kind == "answer.delta":
            self._delta(client, track, at)
        elif kind == "turn.restarted":
            self._restarted(client, track, at)
        elif kind == "turn.done":
            self._done(client, track, frame, at)

    def _order(self, client: Client, track: Track, kind: str, at: float) -> None:
        """Turns of a session one after another, in the order of asking. A turn found waiting is passed over after."""
        line = client.line
        if track.turn not in line:
            return
        first = next(iter(line))
        if first != track.turn:
            self._breach("overlap", client, track.turn, at, f"{kind} before the turn {first} was done")
            del line[first]

    def _delta(self, client: Client, track: Track, at: float) -> None:
        cancelled = client.session.cancels.get(track.turn)
        if cancelled is None or at - cancelled < CANCEL_S or track.end is not None:
            return
        if not self.faults.between(cancelled, at):
            what = f"the answer goes on {at - cancelled:.1f} s after the cancel"
            self._breach("cancel-ignored", client, track.turn, at, what)

    def _restarted(self, client: Client, track: Track, at: float) -> None:
        track.restarts.append(at)
        self.counts["restarts"] += 1
        if client.session.cancels.get(track.turn) is None:
            self._explain(client, track, at)

    def _explain(self, client: Client, track: Track, at: float) -> None:
        faults = self.faults.between(track.sent_at if track.sent_at is not None else 0.0, at)
        if len(track.restarts) > RUNS_PER_FAULT * faults and not client.session.partial:
            what = f"{len(track.restarts)} restarts, {faults} faults since it was asked"
            self._breach("restart", client, track.turn, at, what)

    def _done(self, client: Client, track: Track, frame: Frame, at: float) -> None:
        client.line.pop(track.turn, None)
        session = client.session
        asked = session.asked.get(track.turn)
        words = WORDS.search(session.questions.get(track.turn, ""))
        told_before = track.end is not None
        track.close(frame, at, asked.tag if asked is not None else "", int(words[1]) if words else 0)
        end = End.of(frame)
        first = session.ends.setdefault(track.turn, end)
        if differs := end.differs(first):
            self._breach("two-answers", client, track.turn, at, differs)
        self.counts["told again"] += told_before
        if not told_before:
            self._status(client, track, frame, at)

    def _status(self, client: Client, track: Track, frame: Frame, at: float) -> None:
        session, status = client.session, frame["status"]
        asked = session.asked.get(track.turn)
        since = asked.at if asked is not None else track.sent_at or 0.0
        cancelled = session.cancels.get(track.turn)
        if status == "cancelled" and cancelled is None and not session.partial:
            self._breach("uncalled-cancel", client, track.turn, at, "nobody cancelled this turn")
        if cancelled is not None and track.restarts and track.restarts[-1] > cancelled:
            if status != "cancelled":
                self._explain(client, track, at)
            elif not self.faults.between(since, at):
                self._breach("cancel-text", client, track.turn, at, "the text was taken back after the cancel")
        if status == "failed":
            fault = frame.get("fault") or {}
            if not fault.get("message"):
                self._breach("failed", client, track.turn, at, "no reason is given")
            elif not self.faults.between(since, at):
                self._breach("failed", client, track.turn, at, f"without any fault: {fault['message']}")
        if status == "expired" and asked is not None and at - asked.at < asked.budget_s - EXPIRY_S:
            what = f"after {at - asked.at:.2f} s of {asked.budget_s:g} s"
            self._breach("expired-early", client, track.turn, at, what)

    # --- the end ----------------------------------------------------------------------------------------------

    def _reread(self, reread: Reread) -> None:
        """A new reader of the session: everything from its start, with the end that was told before."""
        client = self._client(reread.client)
        session, turn = client.session, reread.turn
        self.counts["read again"] += 1
        track = Track(f"{reread.client} (read again)", turn, self.findings)
        asked = session.asked.get(turn)
        socket = Socket(1, hello={"type": "hello"})
        for frame in reread.frames:
            if wrong := flaw(frame):
                self._breach("malformed", client, turn, reread.at, wrong)
            elif track.take(frame, frame["type"], socket, reread.at) and frame["type"] == "turn.done":
                track.close(frame, reread.at, asked.tag if asked is not None else "", 0)
        track.settle(reread.at)
        known = client.tracks.get(turn)
        if track.end is None:
            if turn in session.ends or (known is not None and known.spoken and not known.refused):
                self._breach("not-stored", client, turn, reread.at, "a new reader is not told its end")
            return
        session.stored[turn] = track.end.status
        first = session.ends.get(turn)
        if first is not None and (differs := track.end.differs(first)):
            self._breach("record", client, turn, reread.at, f"read again: {differs}")

    def _finished(self, finished: Finished) -> None:
        self.finished = finished.at

    def verdict(self) -> Verdict:
        """Call once, after the last happening."""
        verdict = Verdict(self.counts, self.faults.counts, finished=self.finished is not None)
        for client in self.clients.values():
            for track in client.tracks.values():
                self._settle(client, track)
                verdict.turns.append(_told(client, track))
            if verdict.finished and client.degraded:
                self._breach("outage-pair", client, "", self.last, "degraded, and never restored")
        self.counts["faults"] = sum(self.faults.counts.values())
        for told in verdict.turns:
            self.counts[told.status] += 1
            self.counts["accepted"] += told.accepted is not None
            self.counts["judged"] += told.status not in ("refused", "open")
        verdict.broken, verdict.violations = self.findings.broken, self.findings.violations()
        self.counts["judged"] += verdict.broken["lost"]
        return verdict

    def _settle(self, client: Client, track: Track) -> None:
        """A turn as it is at the end of the history."""
        asked = client.session.asked.get(track.turn)
        track.stop(self.last, asked.tag if asked is not None else "")
        if self.finished is None or track.end is not None or track.sent_at is None or track.refused:
            return
        if track.spoken:
            if client.stayed(track.sent_at + asked.budget_s if asked is not None else None):
                stored = client.session.stored.get(track.turn)
                tail = f"; it is stored as {stored}" if stored else ""
                self._breach("lost", client, track.turn, self.last, f"accepted, and its end was never told{tail}")
        elif client.stayed(None):
            self._breach("unanswered", client, track.turn, self.last, "sent, and neither accepted nor refused")


def _told(client: Client, track: Track) -> Told:
    status = track.end.status if track.end is not None else "refused" if track.refused else "open"
    return Told(
        client=track.client,
        turn=track.turn,
        asked=track.asked.at if track.asked is not None else track.sent_at,
        accepted=track.accepted_at,
        first=track.first_at,
        done=track.done_at,
        status=status,
        restarts=tuple(track.restarts),
        cancelled=client.session.cancels.get(track.turn),
    )
