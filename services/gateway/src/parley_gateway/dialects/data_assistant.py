"""D0, the data assistant: ``ws://host/``. One JSON object in, one out, in order; nothing is said unasked."""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.line import Line
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Failed, Question, answer, session_of
from parley_protocol.client import RetrievalFrame
from parley_protocol.faults import FaultCode, ProtocolError

NAME = "data_assistant"
SYSTEM = "d0"
MAX_WAITING = 128
"""Messages that may wait for their answers: more than a burst of them."""

INTENTS = {"small_talk": "闲聊", "query_data": "数据查询"}
"""By route; every other is a question to the knowledge base."""


class Incoming(msgspec.Struct):
    """A message. Unknown fields are ignored."""

    message: str
    session_id: str | None = None
    context: dict[str, Any] | None = None


class DataAssistant:
    """One socket of D0."""

    def __init__(self, socket: DialectSocket) -> None:
        self._socket = socket
        self._line = Line(MAX_WAITING)
        self._session = secrets.token_hex(8)
        """The last one named; before that one of the socket's own."""

    @property
    def busy(self) -> bool:
        return self._line.busy

    def greet(self) -> None:
        """Nothing is said unasked."""

    async def hear(self, data: str | bytes) -> None:
        incoming = decoded(data)
        if not self._line.put(lambda: self._answer(incoming)):
            raise ProtocolError(FaultCode.OVERLOADED, f"{MAX_WAITING} messages wait for their answers; wait for one")

    def refuse(self, error: ProtocolError) -> None:
        """In the order of the messages where there is room, else at once."""

        async def tell() -> None:
            self._socket.send("error", failed(Failed(error.code, str(error)), self._session))

        if not self._line.put(tell):
            self._socket.send("error", failed(Failed(error.code, str(error)), self._session))

    def gone(self) -> None:
        self._line.close()

    async def _answer(self, incoming: Incoming) -> None:
        socket = self._socket
        name = self._session = incoming.session_id or self._session
        context = dict(incoming.context or {})
        kb = context.pop("kb", None)
        if kb is not None and not isinstance(kb, str):
            outcome: Answered | Failed = Failed(FaultCode.INVALID, "context.kb must be the name of a knowledge base")
        else:
            question = Question(
                text=incoming.message,
                session=session_of(socket.hub, socket.identity, SYSTEM, name),
                kb=kb,
                context=context or None,
            )
            outcome = await answer(socket.hub, socket.identity, question)
        if isinstance(outcome, Failed):
            socket.send("error", failed(outcome, name))
        else:
            socket.send("success", succeeded(outcome, name))


def decoded(data: str | bytes) -> Incoming:
    """Raises ProtocolError ``bad_frame`` that names the field."""
    try:
        return msgspec.json.decode(data, type=Incoming)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, f"消息无法识别：{str(error)[:200]}") from None


def succeeded(outcome: Answered, session: str) -> dict[str, Any]:
    """The reply to a question that was answered."""
    found: RetrievalFrame | None = outcome.retrieval
    route = found.route if found is not None else "knowledge_base"
    decision = {"decision": route, "needs_data": route == "query_data"}
    return {
        "status": "success",
        "response": outcome.done.text,
        "intent": INTENTS.get(route, "知识问答"),
        "route_decision": decision,
        "data_used": [],
        "session_id": session,
    }


def failed(outcome: Failed, session: str) -> dict[str, Any]:
    """The reply to a message without an answer."""
    frame: dict[str, Any] = {"status": "error", "response": outcome.message, "session_id": session}
    if outcome.retry_after_ms is not None:
        frame["retry_after_ms"] = outcome.retry_after_ms
    return frame


async def open_socket(socket: DialectSocket, _: Mapping[str, str]) -> DataAssistant:
    """See :data:`parley_gateway.dialects.dialect.Open`."""
    return DataAssistant(socket)


DIALECT = Dialect(
    name=NAME,
    path="/",
    system=SYSTEM,
    open=open_socket,
    error=lambda error: failed(Failed(error.code, str(error)), ""),
)
