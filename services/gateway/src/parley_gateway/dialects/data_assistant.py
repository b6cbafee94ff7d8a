"""D0, the data assistant: ``ws://host/``. One JSON object in, one out, in order; nothing is said unasked."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from parley_gateway.dialects.dialect import Dialect
from parley_gateway.dialects.fitting import fitting
from parley_gateway.dialects.line import Line
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Failed, Question, answer, no_documents, session_of
from parley_gateway.dialects.words import in_chinese
from parley_protocol.client import RetrievalFrame
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.readings import MetricData
from parley_runtime.telemetry.logging import get_logger

log = get_logger("parley.dialect")

NAME = "data_assistant"
SYSTEM = "d0"
MAX_WAITING = 128
"""Messages that may wait for their answers: more than a burst of them."""
MAX_SESSION = 1024
"""Characters of a session id, which every reply repeats."""

INTENTS = {"small_talk": "闲聊", "query_data": "数据查询"}
"""By route; every other is a question to the knowledge base."""


REASONS = {
    FaultCode.BAD_FRAME: "消息无法识别：",
    FaultCode.TOO_LARGE: "消息过长：",
    FaultCode.RATE_LIMITED: "消息过于频繁，请稍后再发：",
    FaultCode.OVERLOADED: "当前请求过多，请稍后再试：",
    FaultCode.INVALID: "请求有误：",
    FaultCode.UNKNOWN_KB: "知识库不存在：",
    FaultCode.UNAUTHORIZED: "需要有效的令牌：",
    FaultCode.EXPIRED: "未能在限定时间内回答，请再问一次：",
    FaultCode.UNAVAILABLE: "服务暂时不可用，请稍后再试：",
    FaultCode.CONFLICT: "请求有冲突：",
    FaultCode.FAILED: "未能回答，请再试一次：",
}
"""What begins the reason of a failure where the question is not English."""

WAIT_MS = {
    FaultCode.RATE_LIMITED: 1_000,
    FaultCode.OVERLOADED: 2_000,
    FaultCode.EXPIRED: 2_000,
    FaultCode.UNAVAILABLE: 2_000,
    FaultCode.ABANDONED: 1_000,
    FaultCode.ENGINE_FAILED: 2_000,
    FaultCode.FAILED: 2_000,
}
"""``retry_after_ms`` of failures for which nobody knows a better one."""


class Incoming(msgspec.Struct):
    """A message. Unknown fields are ignored."""

    message: str
    session_id: str | None = None
    context: dict[str, Any] | None = None


class _Named(msgspec.Struct):
    session_id: str | None = None


class DataAssistant:
    """One socket of D0."""

    def __init__(self, socket: DialectSocket) -> None:
        self._socket = socket
        self._line = Line(MAX_WAITING)
        self._session = secrets.token_hex(8)
        """The last one named; before that one of the socket's own."""
        self._refused: str | None = None
        """The session that a message which was not taken names."""

    @property
    def busy(self) -> bool:
        return self._line.busy

    def greet(self) -> None:
        """Nothing is said unasked."""

    async def hear(self, data: str | bytes) -> None:
        try:
            incoming = decoded(data)
        except ProtocolError:
            self._refused = named(data)
            raise
        if not self._line.put(lambda: self._answer(incoming)):
            raise ProtocolError(FaultCode.OVERLOADED, f"{MAX_WAITING} messages wait for their answers; wait for one")

    def refuse(self, error: ProtocolError) -> None:
        """In the order of the messages where there is room, else at once."""

        refused, self._refused = self._refused, None

        def say() -> None:
            outcome = Failed(error.code, str(error), WAIT_MS.get(error.code))
            self._socket.send("error", failed(outcome, refused or self._session))

        async def tell() -> None:
            say()

        if not self._line.put(tell):
            say()

    def gone(self) -> None:
        dropped = self._line.close()
        if dropped:
            log.info("messages of a client who has gone are not answered", messages=dropped)

    async def _answer(self, incoming: Incoming) -> None:
        socket = self._socket
        name = self._session = incoming.session_id or self._session
        context = dict(incoming.context or {})
        kb = context.get("kb")
        outcome = await self._asked(incoming.message, name, context)
        if kb is None and (said := no_documents(outcome, incoming.message)):
            log.warning("the base of questions that name none is not there", dialect=NAME)
            socket.send("success", reply(said, "knowledge_base", name))
        elif isinstance(outcome, Failed):
            socket.send("error", failed(outcome, name, english=is_english(incoming.message)))
        else:
            socket.send("success", succeeded(outcome, name))

    async def _asked(self, text: str, name: str, context: dict[str, Any]) -> Answered | Failed:
        wrong = mistyped(context)
        if wrong:
            return Failed(FaultCode.INVALID, wrong)
        socket = self._socket
        kb = context.pop("kb", None)
        session = session_of(socket.hub, socket.identity, SYSTEM, name)
        return await answer(
            socket.hub, socket.identity, Question(text=text, session=session, kb=kb, context=context or None)
        )


def decoded(data: str | bytes) -> Incoming:
    """Raises ProtocolError that names the field."""
    try:
        incoming = msgspec.json.decode(data, type=Incoming)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(FaultCode.BAD_FRAME, str(error)[:200]) from None
    if incoming.session_id is not None and len(incoming.session_id) > MAX_SESSION:
        raise ProtocolError(FaultCode.INVALID, f"session_id may have {MAX_SESSION} characters")
    return incoming


def named(data: str | bytes) -> str | None:
    """The session that a message names which cannot be taken otherwise."""
    try:
        session = msgspec.json.decode(data, type=_Named).session_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return session if session is None or len(session) <= MAX_SESSION else None


def mistyped(context: Mapping[str, Any]) -> str:
    """What is wrong with a context, or nothing. Names that are not known are somebody else's."""
    for name in ("kb", "sensor", "place"):
        if context.get(name) is not None and not isinstance(context[name], str):
            return f"context.{name} must be a text"
    span = context.get("time_range")
    if span is not None and not isinstance(span, str | dict | list):
        return "context.time_range must be a text, or an object with start and end"
    return ""


def is_english(message: str) -> bool:
    """Texts for people are Chinese unless the question is English."""
    return message.isascii() and any(char.isalpha() for char in message)


def succeeded(outcome: Answered, session: str) -> dict[str, Any]:
    """The reply to a question that was answered."""
    found: RetrievalFrame | None = outcome.retrieval
    if found is None:
        return reply(outcome.done.text, "knowledge_base", session)
    return reply(outcome.done.text, found.route, session, [used(entry) for entry in found.data])


def reply(text: str, route: str, session: str, data: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The documented reply."""
    frame = {
        "status": "success",
        "response": text,
        "intent": INTENTS.get(route, "知识问答"),
        "route_decision": {"decision": route, "needs_data": route == "query_data"},
        "data_used": list(data),
        "session_id": session,
    }
    return fitting(frame, "response")


def used(entry: MetricData) -> dict[str, Any]:
    """One metric's readings. A value is a number, its digits as stored."""
    readings = [
        {
            "timestamp": reading.timestamp,
            "value": msgspec.Raw(reading.value.encode()),
            "unit": reading.unit,
            "sensor": reading.sensor,
        }
        for reading in entry.readings
    ]
    shown: dict[str, Any] = {"type": "sensor_data", "metric": entry.metric, "readings": readings}
    if entry.truncated:
        shown["truncated"] = True
    return shown


def failed(outcome: Failed, session: str, *, english: bool = False) -> dict[str, Any]:
    """The reply to a message without an answer."""
    begins = REASONS.get(outcome.code, REASONS[FaultCode.FAILED])
    reason = outcome.message if english else f"{begins}{in_chinese(outcome.message)}"
    frame: dict[str, Any] = {"status": "error", "response": reason, "session_id": session}
    wait_ms = outcome.retry_after_ms or WAIT_MS.get(outcome.code)
    if wait_ms is not None:
        frame["retry_after_ms"] = wait_ms
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
