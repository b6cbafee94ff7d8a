"""Spoken turns before they are asked: held in the session's order from their beginning, told of by transcripts.

Such a turn has not been accepted: nothing of it is in the broker, and its id stays free until it has been heard. Then
it is a turn like any other, and the transcript is its first item.
"""

from typing import Any

from parley_gateway.core.effects import Effect, Opened, Touch
from parley_gateway.core.entry import Entry, Phase, Request
from parley_gateway.core.session import Session
from parley_gateway.core.turn import Turn
from parley_gateway.core.view import Sink, View
from parley_protocol.events import TurnStatus
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId


def listen(
    session: Session,
    turn: TurnId,
    sink: Sink,
    now: float,
    *,
    longest_s: float,
    interrupt: bool = False,
    parent: Any = None,
) -> tuple[Entry, list[Effect]]:
    """Hold a turn that is being spoken, behind those that are open; ``interrupt`` cancels them. ``parent`` is the trace
    context of its stream.

    Raises:
        ProtocolError: ``conflict`` (the id is in use) or ``overloaded`` (as many turns are open as may).
    """
    if turn in session.entries:
        raise ProtocolError(FaultCode.CONFLICT, "this turn id was used before; speak under a new id")
    effects: list[Effect] = []
    if interrupt:
        for entry in tuple(session.open):
            effects += session.force(entry, TurnStatus.CANCELLED, now)
    waiting = sum(entry.forced is None for entry in session.open)
    if waiting >= session.max_open or len(session.open) >= 2 * session.max_open:
        raise ProtocolError(
            FaultCode.OVERLOADED, f"{waiting} turns of this session wait already; wait for one to end or cancel one"
        )
    entry = Entry(session, Turn(session.key(turn)), None, now, longest_s)
    entry.phase = Phase.HEARING
    entry.parent = parent
    session.hold(entry)
    entry.views = [View(entry.turn, each) for each in session.sinks if each is sink]
    entry.others = tuple(each for each in session.sinks if each is not sink)
    return entry, [Opened(entry), *effects]


def partial(entry: Entry, text: str) -> list[Effect]:
    """The whole hypothesis so far."""
    if entry.phase is not Phase.HEARING or text == entry.turn.last.transcript:
        return []
    entry.turn.hear(text, final=False)
    return [Touch(entry)]


def heard(entry: Entry, request: Request, now: float, *, said_at: float = 0.0) -> list[Effect]:
    """This was said, to its end at ``said_at``: ask it."""
    if entry.phase is not Phase.HEARING:
        return []
    session: Session = entry.session
    entry.request = request
    entry.phase = Phase.QUEUED
    entry.started_at = now
    entry.said_at = said_at or now
    entry.deadline_at = now + request.budget_s
    entry.turn.hear(request.text, final=True)
    return [Touch(entry), *session.advance()]


def unheard(
    entry: Entry, code: FaultCode, message: str, now: float, *, retry_after_ms: int | None = None
) -> list[Effect]:
    """Nothing is asked: whoever follows is told why, and the id is free."""
    if entry.phase is not Phase.HEARING:
        return []
    session: Session = entry.session
    return session.refuse(entry, code, message, now, retry_after_ms=retry_after_ms)
