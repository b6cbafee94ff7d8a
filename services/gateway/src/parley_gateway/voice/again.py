"""``answer.speak``: an answer is spoken to a socket that was not there when it was, or that had only read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley_gateway.core import resume
from parley_gateway.core.session import Session
from parley_gateway.turns import check_turn
from parley_protocol.client import AnswerSpeak
from parley_protocol.faults import FaultCode, ProtocolError

if TYPE_CHECKING:
    from parley_gateway.hub import Hub

NOT_KNOWN = "this session has no turn of that id, or not any more: there is no answer to speak"
AWAY = "the store cannot be read at present; ask again soon"


async def hold(hub: Hub, session: Session, frame: AnswerSpeak) -> None:
    """Have the turn held here; the store is read where it is not.

    Raises:
        ProtocolError: ``invalid``, ``not_found``, or ``unavailable`` where the store cannot say.
    """
    check_turn(frame.turn)
    if frame.sentence < 0:
        raise ProtocolError(FaultCode.INVALID, "sentence must not be below 0")
    if frame.turn in session.entries:
        return
    key = session.key(frame.turn)
    rows = await hub.dispatch.watcher.read_rows([key])
    if rows is None:
        raise ProtocolError(FaultCode.UNAVAILABLE, AWAY)
    row = rows.get(key)
    if row is None:
        raise ProtocolError(FaultCode.NOT_FOUND, NOT_KNOWN)
    if frame.turn not in session.entries:  # nobody else has asked meanwhile
        hub.dispatch.apply(resume.hold(session, frame.turn, row, hub.now(), hub.settings.turns.budget_s))
        hub.dispatch.promise(session.entries[frame.turn])
