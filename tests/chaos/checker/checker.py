"""Judges a run from what its clients sent and received, and from when faults were injected. Knows nothing of Parley's
insides and imports nothing of it: a guarantee is what ``verdict.RULES`` says it is, not what code does.

One pass, linear in the history. A history that begins late or breaks off is judged as far as it goes: what may lie
outside it is not held against anyone, and without ``Finished`` nothing is lost.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from ..history import Asked, Closed, Finished, Happening, Healed, Injected, Opened, Received, Reread, Sent
from .frames import flaw
from .parties import Client
from .state import State
from .told import received
from .tracks import Frame, Socket, Track
from .verdict import Told, Verdict


def judge(happenings: Iterable[Happening]) -> Verdict:
    """The verdict over one run. After ``Finished`` only rereads count: sockets that close then are nobody's fault."""
    state = State()
    for happening in happenings:
        if state.finished is None or isinstance(happening, Reread):
            state.last = max(state.last, happening.at)
            _TAKES[type(happening)](state, happening)
    return _verdict(state)


def _asked(state: State, asked: Asked) -> None:
    client = state.client(asked.client)
    state.track(client, asked.turn).asked = asked
    client.session.asked.setdefault(asked.turn, asked)


def _opened(state: State, opened: Opened) -> None:
    client = state.client(opened.client)
    client.open(opened.socket)
    state.findings.note(opened)
    state.counts["sockets"] += 1


def _sent(state: State, sent: Sent) -> None:
    client, frame = state.client(sent.client), sent.frame
    state.findings.note(sent)
    socket, turn = client.socket(sent.socket), str(frame.get("turn"))
    match frame.get("type"):
        case "hello":
            if frame.get("session") not in (None, *state.sessions):
                client.session.partial = True
            client.greet(socket, frame)
        case "turn.start":
            _start(state, client, socket, turn, frame, sent.at)
        case "turn.cancel":
            client.session.cancels[turn] = sent.at
            client.cancelled.add(turn)
        case _:
            pass


def _start(state: State, client: Client, socket: Socket, turn: str, frame: Frame, at: float) -> None:
    track, session = state.track(client, turn), client.session
    question = str(frame.get("text"))
    session.questions.setdefault(turn, question)
    session.starts[turn] += 1
    socket.starts.add(turn)
    if frame.get("interrupt"):
        for other in client.line:
            session.cancels[other] = at
            client.cancelled.add(other)
    if track.sent_at is None:
        track.sent_at = at
    track.ask_again(socket)
    if track.end is None:
        if track.refused or turn not in client.line:
            client.line.pop(turn, None)
            client.line[turn] = track
        track.refused = ""
    track.question = question


def _closed(state: State, closed: Closed) -> None:
    client = state.client(closed.client)
    state.findings.note(closed)
    client.close(closed)
    state.counts["dropped by the client" if closed.own else f"closed {closed.code}"] += 1
    if not closed.own and closed.code != 1006 and not 4000 <= closed.code <= 4099:
        state.breach("close-code", client, "", closed.at, f"socket {closed.socket} was closed with {closed.code}")


def _reread(state: State, reread: Reread) -> None:
    """A new reader of the session: everything from its start, with the end that was told before."""
    client = state.client(reread.client)
    session, turn = client.session, reread.turn
    state.counts["read again"] += 1
    track = Track(f"{reread.client} (read again)", turn, state.findings)
    asked = session.asked.get(turn)
    socket = Socket(1, hello={"type": "hello"})
    for frame in reread.frames:
        if wrong := flaw(frame):
            state.breach("malformed", client, turn, reread.at, wrong)
        elif track.take(frame, frame["type"], socket, reread.at) and frame["type"] == "turn.done":
            track.close(frame, reread.at, asked.tag if asked is not None else "", 0)
    track.settle(reread.at)
    known = client.tracks.get(turn)
    if track.end is None:
        if turn in session.ends or (known is not None and known.spoken and not known.refused):
            state.breach("not-stored", client, turn, reread.at, "a new reader is not told its end")
        return
    session.stored[turn] = track.end.status
    first = session.ends.get(turn)
    if first is not None and (differs := track.end.differs(first)):
        state.breach("record", client, turn, reread.at, f"read again: {differs}")


def _injected(state: State, fault: Injected) -> None:
    state.faults.injected(fault)


def _healed(state: State, fault: Healed) -> None:
    state.faults.healed(fault)


def _finished(state: State, finished: Finished) -> None:
    state.finished = finished.at


_TAKES: Final[dict[type, Callable[[State, Any], None]]] = {
    Asked: _asked,
    Opened: _opened,
    Sent: _sent,
    Received: received,
    Closed: _closed,
    Reread: _reread,
    Injected: _injected,
    Healed: _healed,
    Finished: _finished,
}


def _verdict(state: State) -> Verdict:
    verdict = Verdict(state.counts, state.faults.counts, finished=state.finished is not None)
    for client in state.clients.values():
        for track in client.tracks.values():
            _settle(state, client, track)
            if track.sent_at is not None or client.session.partial:  # not what it overhears of its session
                verdict.turns.append(_told(client, track))
        if verdict.finished and client.degraded:
            state.breach("outage-pair", client, "", state.last, "degraded, and never restored")
    counts = state.counts
    counts["faults"] = state.faults.total
    for told in verdict.turns:
        counts[told.status] += 1
        counts["accepted"] += told.accepted is not None
        counts["judged"] += told.status not in ("refused", "open")
    verdict.broken, verdict.violations = state.findings.broken, state.findings.violations()
    counts["judged"] += verdict.broken["lost"]
    return verdict


def _settle(state: State, client: Client, track: Track) -> None:
    """A turn as it is at the end of the history."""
    asked = client.session.asked.get(track.turn)
    track.stop(state.last, asked.tag if asked is not None else "")
    if state.finished is None or track.end is not None or track.sent_at is None or track.refused:
        return
    if track.spoken:
        if client.stayed(track.sent_at + asked.budget_s if asked is not None else None):
            stored = client.session.stored.get(track.turn)
            tail = f"; it is stored as {stored}" if stored else ""
            state.breach("lost", client, track.turn, state.last, f"accepted, and its end was never told{tail}")
    elif client.stayed(None):
        state.breach("unanswered", client, track.turn, state.last, "sent, and neither accepted nor refused")


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
