"""``hello``: who the client is, which session it has, and what it missed. The only part of a connection that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parley_gateway.core import resume as resuming
from parley_gateway.core.session import Session
from parley_gateway.identity import Identity
from parley_gateway.turns import check_turn
from parley_gateway.voice.socket_speech import SocketSpeech
from parley_protocol.client import Degraded, Hello, Welcome
from parley_protocol.faults import CloseCode, FaultCode, ProtocolError
from parley_protocol.position import Position, decode_position
from parley_runtime.errors import Overloaded
from parley_runtime.store.ports import TurnRow
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

if TYPE_CHECKING:
    from parley_gateway.connection import Connection
    from parley_gateway.hub import Hub

log = get_logger("parley.socket")

DIALECT = "parley.v1"
MAX_AFTER = 64
"""Turns after the position that are replayed; beyond it the client is told of a gap."""


FATAL = {
    FaultCode.UNAUTHORIZED: CloseCode.BAD_TOKEN,
    FaultCode.NO_HELLO: CloseCode.NO_HELLO,
}
"""What ends a connection, whatever the frame was."""


async def hello(connection: Connection, frame: Hello) -> None:
    """Give the connection its identity and its session, and send ``welcome`` before anything else of the session. A
    hello that is refused leaves nothing to talk about: the connection is closed, too.

    Raises:
        ProtocolError: ``unauthorized``, ``rate_limited`` (too many sockets of this user) or ``invalid``.
        Overloaded: this gateway holds as many sessions as it may, or this one as many turns as it may.
    """
    try:
        token, connection.token = frame.token or connection.token, ""
        await _hello(connection, frame, token)
    except ProtocolError as error:
        if error.code not in FATAL:
            connection.close(CloseCode.PROTOCOL_ERROR, str(error))
        raise
    except Overloaded as error:
        connection.close(CloseCode.OVERLOADED, str(error))
        raise


async def _hello(connection: Connection, frame: Hello, token: str) -> None:
    if connection.identity is not None:
        connection.error(FaultCode.BAD_FRAME, "hello was said before; open another socket for another session", None)
        connection.close(CloseCode.PROTOCOL_ERROR, "second hello")
        return
    hub = connection.hub
    connection.identity = identity = await hub.auth.identify(token)
    _check_identity(connection, identity)
    most = _most_pending(hub)
    if len(frame.pending) > most:
        raise ProtocolError(FaultCode.INVALID, f"pending names more than {most} turns")
    if frame.session is not None and hub.sessions.verify(frame.session, identity):
        await _resume(connection, frame, hub.registry.session(frame.session, identity))
        return
    counter(names.RESUMES).labels("new" if frame.session is None else "unknown").inc()
    session = hub.registry.session(hub.sessions.make(identity), identity)
    _welcome(connection, session, resumed=False, gap=frame.session is not None)


def _most_pending(hub: Hub) -> int:
    """A client has no more under way: a session has twice as many open as may wait."""
    return max(16, 2 * hub.settings.turns.queued)


def _check_room(hub: Hub, session: Session, client: resuming.Returning) -> None:
    """A turn that is known neither here nor to the store is held until its deadline, since its job may be on the way:
    those of one client, but not whatever a client makes up.
    """
    unknown = sum(turn not in session.entries and client.rows.get(turn) is None for turn in client.pending)
    if unknown and len(session.open) + unknown > 2 * _most_pending(hub):
        counter(names.REFUSED).labels("session").inc()
        log.warning("hello refused", reason="session", setting="PARLEY_QUEUED_TURNS", turns=len(session.open))
        raise Overloaded(
            f"{len(session.open)} turns of this session have not ended yet; come back when one has",
            retry_after_s=hub.admission.turn_s(),
        )


def _check_identity(connection: Connection, identity: Identity) -> None:
    try:
        connection.hub.admit_identity(identity)
    except ProtocolError:
        connection.close(CloseCode.RATE, "too many sockets of this user")
        raise


def _welcome(connection: Connection, session: Session, *, resumed: bool, gap: bool) -> None:
    hub = connection.hub
    assert connection.identity is not None
    connection.session = session
    connection.speech = SocketSpeech(hub, connection.identity, session, connection.outbox, text=connection.text)
    session.attach(connection.outbox)
    connection.outbox.push(
        Welcome(
            session=session.id,
            resumed=resumed,
            gap=gap,
            heartbeat_s=hub.settings.server.ping_s,
            limits=hub.limits(),
        )
    )
    if hub.degraded:
        connection.outbox.push(Degraded(reason=hub.degraded))
    log.info("socket opened", dialect=DIALECT, session=session.id[:8], resumed=resumed, gap=gap)


async def _resume(connection: Connection, frame: Hello, session: Session) -> None:
    hub = connection.hub
    # Held before anything is awaited; nothing is delivered before ``welcome``.
    session.guests += 1
    try:
        client = await _returning(connection, frame, session)
        _check_room(hub, session, client)
        result = resuming.resume(session, connection.outbox, client)
        _welcome(connection, session, resumed=True, gap=result.gap)
    finally:
        session.guests -= 1
        hub.registry.release(session)
    counter(names.RESUMES).labels("gap" if result.gap else "resumed").inc()
    hub.dispatch.apply(result.effects)
    for entry in session.open:
        hub.dispatch.promise(entry)


async def _returning(connection: Connection, frame: Hello, session: Session) -> resuming.Returning:
    """What the client says, with the rows that the store has of it."""
    hub = connection.hub
    position, lost = _position(frame.position)
    for turn in frame.pending:
        check_turn(turn)
    watcher = hub.dispatch.watcher
    over = resuming.over(session)
    wanted = resuming.to_read(session, position, frame.pending)
    rows = await watcher.read_rows([session.key(turn) for turn in wanted]) if wanted else {}
    read: list[TurnRow] | None = []
    if position is not None:
        # Without the rows of what it has not read to its end, what came after that might be told before it.
        read = None if rows is None else await watcher.read_after(session, position.turn, MAX_AFTER + 1)
    after = read or []
    return resuming.Returning(
        position=position,
        pending=frame.pending,
        rows={} if rows is None else {turn: rows.get(session.key(turn)) for turn in wanted},
        after=after[:MAX_AFTER],
        now=hub.now(),
        window_s=hub.settings.turns.resume_s,
        budget_s=hub.settings.turns.budget_s,
        over=over,
        gap=lost or read is None or len(after) > MAX_AFTER,
    )


def _position(text: str | None) -> tuple[Position | None, bool]:
    """(position, whether one was given that cannot be read)."""
    if not text:
        return None, False
    try:
        return decode_position(text), False
    except ProtocolError:
        return None, True
