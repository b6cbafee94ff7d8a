"""D1, the contact chat: ``ws://host/contact``, and the owner's side of it at ``/contact?role=owner``."""

import uuid
from collections.abc import Mapping
from urllib.parse import parse_qsl

from parley_gateway.auth import credential
from parley_gateway.dialects import contact_frames as frames
from parley_gateway.dialects.dialect import Dialect, Speaker
from parley_gateway.dialects.line import Line
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Question, answer, session_of
from parley_gateway.doors import header_map
from parley_gateway.identity import Identity
from parley_protocol.contact import ASSISTANT, CHAT, OWNER, REQUEST, VISITOR, ContactMessage
from parley_protocol.faults import FaultCode, ProtocolError
from parley_runtime.errors import ParleyError
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.contact")

NAME = "contact"
SYSTEM = "d1"


class Visitor:
    """One visitor's socket. A reconnect is a new visitor."""

    def __init__(self, socket: DialectSocket) -> None:
        self.client = str(uuid.uuid4())
        self.tenant = socket.identity.tenant
        self._socket = socket
        self.desk = socket.hub.contact
        self._line = Line(socket.hub.settings.contact.waiting)
        self._session = session_of(socket.hub, socket.identity, SYSTEM, self.client)

    @property
    def busy(self) -> bool:
        return self._line.busy

    def greet(self) -> None:
        self._socket.send("connection_established", frames.established(self.client))

    async def hear(self, data: str | bytes) -> None:
        frame = frames.from_visitor(data, self._socket.hub.settings.limits.max_text)
        match frame:
            case frames.Ping():
                self._socket.send("pong", frames.pong())
            case frames.Chat():
                await self._ask(frame)
            case frames.Request():
                message = await _kept(self, REQUEST, frame.message, VISITOR, user_agent=frame.userAgent)
                await self._notify(message)
                self._socket.send("contact_request_received", frames.request_received(self.client))

    def refuse(self, error: ProtocolError) -> None:
        self._socket.send("error", frames.error(error.code, str(error)))

    def gone(self) -> None:
        """What is being asked is asked to its end, so that the owner sees the answer; the rest is not asked."""
        self.desk.leave(self)
        dropped = self._line.outlive(self._socket.hub.tasks)
        if dropped:
            log.info("questions of a visitor who has gone are not asked", questions=dropped)

    def deliver(self, message: ContactMessage) -> bool:
        """See :class:`parley_gateway.listeners.Listener`."""
        if self._socket.closing or self._socket.wire.lost:
            return False
        self._socket.send(message.kind, frames.from_store(message))
        return True

    async def _ask(self, frame: frames.Chat) -> None:
        waiting = self._socket.hub.settings.contact.waiting
        if len(self._line) >= waiting:
            raise ProtocolError(FaultCode.OVERLOADED, f"{waiting} questions wait for their answers")
        await _kept(self, CHAT, frame.message, VISITOR)
        self._socket.send("chat_message_received", frames.message_received())
        self._line.put(lambda: self._answer(frame.message))

    async def _notify(self, message: ContactMessage) -> None:
        try:
            await self.desk.notify(self.tenant, message)
        except ParleyError as error:
            log.warning("contact request kept, but no notice of it could be sent", reason=type(error).__name__)
            text = "the request is kept, but the owner could not be told of it; send it again later"
            raise ProtocolError(FaultCode.UNAVAILABLE, text) from None

    async def _answer(self, text: str) -> None:
        socket = self._socket
        outcome = await answer(socket.hub, socket.identity, Question(text=text, session=self._session))
        said = outcome.done.text if isinstance(outcome, Answered) else frames.FALLBACK
        if not isinstance(outcome, Answered):
            log.info("no answer for a visitor", socket=socket.label, code=outcome.code.value)
        said = said or frames.FALLBACK
        try:
            await _kept(self, CHAT, said, ASSISTANT)
        except ProtocolError:
            log.warning("an answer could not be kept with its conversation; its turn holds it", socket=socket.label)
        socket.send(CHAT, frames.answer(said))


class Owner:
    """One of the owner's sockets."""

    def __init__(self, socket: DialectSocket, identity: Identity) -> None:
        self.client = str(uuid.uuid4())
        self.tenant = identity.tenant
        self._socket = socket
        self.desk = socket.hub.contact
        self._checks = 0

    @property
    def busy(self) -> bool:
        return self._checks > 0

    def greet(self) -> None:
        self._socket.send("connection_established", frames.established(self.client) | {"role": OWNER})

    async def hear(self, data: str | bytes) -> None:
        frame = frames.from_owner(data, self._socket.hub.settings.limits.max_text)
        if isinstance(frame, frames.Ping):
            self._socket.send("pong", frames.pong())
            return
        message = await _kept(self, CHAT, frame.message, OWNER, client=frame.client_id)
        self._checks += 1
        self._socket.hub.spawn(self._check(message))

    def refuse(self, error: ProtocolError) -> None:
        self._socket.send("error", frames.error(error.code, str(error)))

    def gone(self) -> None:
        self.desk.leave(self)

    def deliver(self, message: ContactMessage) -> bool:
        """See :class:`parley_gateway.listeners.Listener`."""
        if self._socket.closing or self._socket.wire.lost:
            return False
        self._socket.send(message.kind, frames.from_store(message))
        return True

    async def _check(self, message: ContactMessage) -> None:
        """Tell the owner where nobody has got his reply."""
        try:
            if not await self.desk.arrived(message):
                self._socket.send("error", {"type": "error", "message": frames.AWAY, "client_id": message.client_id})
        finally:
            self._checks -= 1


async def _kept(
    by: Visitor | Owner, kind: str, text: str, sender: str, *, client: str = "", user_agent: str = ""
) -> ContactMessage:
    """Raises ProtocolError ``unavailable`` where the store does not take it."""
    desk = by.desk
    try:
        return await desk.keep(
            by.tenant, client=client or by.client, sender=sender, kind=kind, text=text, user_agent=user_agent
        )
    except ParleyError as error:
        log.warning("a message could not be kept", sender=sender, reason=type(error).__name__)
        raise ProtocolError(error.code, "the message could not be kept; send it again later") from None


async def open_socket(socket: DialectSocket, _: Mapping[str, str]) -> Speaker:
    """See :data:`parley_gateway.dialects.dialect.Open`. An owner always needs a token that says so."""
    scope = socket.scope
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
    speaker: Visitor | Owner
    if query.get("role") == OWNER:
        token = credential(header_map(scope), scope.get("subprotocols", []), scope.get("query_string", b""))
        identity = await socket.hub.auth.demand(token)
        if not identity.owner:
            raise ProtocolError(FaultCode.FORBIDDEN, "this needs a token whose claim owner is true")
        speaker = Owner(socket, identity)
    else:
        speaker = Visitor(socket)
    try:
        await socket.hub.contact.join(speaker, owner=isinstance(speaker, Owner))
    except ParleyError as error:
        raise ProtocolError(error.code, str(error)) from None
    return speaker


DIALECT = Dialect(
    name=NAME,
    path="/contact",
    system=SYSTEM,
    open=open_socket,
    error=lambda error: frames.error(error.code, str(error)),
)
