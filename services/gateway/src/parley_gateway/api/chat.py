"""``POST /v1/chat/completions`` and ``GET /v1/models``, as the official ``openai`` clients speak them.

A request is a turn like any other: accepted by the broker, fenced, recorded. Beyond OpenAI's fields a body may name
``kb``, and an answer carries ``sources``. With an ``Idempotency-Key`` header a request that is sent again re-attaches
to the same turn, and a dropped connection does not cancel it; without one, a dropped connection cancels.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from parley_gateway.api.http import JSON, STATUS, body, decoded, refusal, route
from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.virtual import Frame, ask
from parley_protocol.client import AnswerDelta, Done, Restarted
from parley_protocol.events import Ending, Fault, ToolCall, TurnStatus, Usage
from parley_protocol.faults import RETRYABLE, FaultCode, ProtocolError
from parley_protocol.work import ChatMessage, Sampling, Tool
from parley_runtime.errors import EngineError, ParleyError

MODEL = "parley"
"""The engine that the installation has chosen."""
MODELS_LIVE_S = 30.0
"""How long a list of models is used before the workers are asked again."""
ANSWERED = (TurnStatus.COMPLETED, TurnStatus.CANCELLED)
"""Ends of a turn whose text is an answer."""
FINISHES = {"length": "length", "filter": "content_filter"}
"""``finish_reason`` of an answer that was cut."""
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """A part of a message's content."""

    text: str


class CalledFunction(msgspec.Struct):
    """Of a call."""

    name: str
    arguments: str


class Called(msgspec.Struct):
    """A call that the model asked for."""

    id: str
    function: CalledFunction


class ChatEntry(msgspec.Struct):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: list[Called] | None = None
    tool_call_id: str = ""

    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class Function(msgspec.Struct):
    """Of a tool."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
    description: str = ""
    parameters: dict[str, Any] | None = None


class FunctionTool(msgspec.Struct, tag_field="type", tag="function"):
    """A function that the model may ask the client to call."""

    function: Function


class ChosenName(msgspec.Struct):
    """Of a choice."""

    name: str


class ChosenFunction(msgspec.Struct, tag_field="type", tag="function"):
    """The function that it is to ask for."""

    function: ChosenName


class StreamOptions(msgspec.Struct):
    """``stream_options``."""

    include_usage: bool = False


class Completion(msgspec.Struct):
    """The body of a request. Unknown fields are ignored."""

    messages: Annotated[list[ChatEntry], msgspec.Meta(min_length=1, max_length=1000)]
    model: str = MODEL
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1)] | None = None
    tools: Annotated[list[FunctionTool], msgspec.Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    kb: str | None = None


def openai_error(code: str, message: str, retryable: bool) -> dict[str, Any]:
    """OpenAI's error shape."""
    status = STATUS.get(_code(code), 500)
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code, "retryable": retryable}}


def routes(hub: Hub) -> list[BaseRoute]:
    """Completions and models."""
    models = Models()

    async def completions(hub: Hub, request: Request, identity: Identity) -> Response:
        return await _completions(hub, request, identity, models)

    async def listing(hub: Hub, _: Request, __: Identity) -> Response:
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "parley"} for name in await models.names(hub)]
        return JSON({"object": "list", "data": rows})

    return [
        route(hub, "/v1/chat/completions", {"POST": completions}, shape=openai_error),
        route(hub, "/v1/models", {"GET": listing}, shape=openai_error),
    ]


class Models:
    """Names of the models that workers announce, asked for at most every :data:`MODELS_LIVE_S`."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = (MODEL,)
        self._asked = float("-inf")

    async def names(self, hub: Hub) -> tuple[str, ...]:
        """``parley`` first, then the engines' own."""
        if hub.now() - self._asked > MODELS_LIVE_S:
            self._asked = hub.now()
            engines = [engine for presence in await hub.calls.hail() for engine in presence.engines]
            found = {engine.model or engine.name for engine in engines if engine.stage == "generate"}
            self._names = (MODEL, *sorted(found - {MODEL}))
        return self._names

    async def check(self, hub: Hub, model: str) -> None:
        """Raises ProtocolError ``not_found`` for a model that nobody has announced."""
        if model != MODEL and model not in (names := await self.names(hub)):
            known = ", ".join(names)
            raise ProtocolError(FaultCode.NOT_FOUND, f"model {model[:80]!r} is not served; these are: {known}")


async def _completions(hub: Hub, request: Request, identity: Identity, models: Models) -> Response:
    asked = decoded(await body(request, hub.settings.limits.max_message, "PARLEY_MAX_MESSAGE"), Completion)
    await models.check(hub, asked.model)
    if asked.messages[-1].role not in ("user", "tool"):
        raise ProtocolError(FaultCode.INVALID, "the last message must be the user's, or a tool's")
    frames = _ask(hub, identity, asked, request.headers.get("idempotency-key", ""))
    first = await anext(frames)
    if asked.stream:
        # Errors before this point are HTTP errors; later ones travel in the stream.
        stream = _stream(frames, first.turn, asked)
        return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)
    answer = asyncio.ensure_future(_last(frames))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return _whole(answer.result(), asked.model)
    finally:
        gone.cancel()
        answer.cancel()


async def _last(frames: AsyncGenerator[Frame, None]) -> Done:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            if isinstance(frame, Done):
                return frame
    raise ProtocolError(FaultCode.FAILED, "the turn ended without a terminal event")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _ask(hub: Hub, identity: Identity, asked: Completion, key: str) -> AsyncGenerator[Frame, None]:
    messages = tuple(_message(entry) for entry in asked.messages)
    question = next((entry.text() for entry in reversed(asked.messages) if entry.role == "user"), "")
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    sampling = Sampling(
        model=None if asked.model == MODEL else asked.model,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        seed=asked.seed,
        stop=stop,
        tools=tuple(
            Tool(tool.function.name, tool.function.description, tool.function.parameters) for tool in asked.tools or ()
        ),
        tool_choice=_choice(asked),
    )
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return ask(
        hub,
        identity,
        question,
        kb=asked.kb,
        messages=messages,
        sampling=sampling,
        session=hub.sessions.named(identity, key) if key else None,
        turn=f"key-{digest}" if key else None,
        cancel_on_leave=not key,
    )


def _message(entry: ChatEntry) -> ChatMessage:
    calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in entry.tool_calls or ())
    return ChatMessage(_role(entry.role), entry.text(), calls, entry.tool_call_id)


def _choice(asked: Completion) -> str:
    """Raises ProtocolError for a function that is not offered."""
    choice = asked.tool_choice
    if choice is None or choice == "auto" or (not asked.tools and choice == "none"):
        return ""
    name = choice.function.name if isinstance(choice, ChosenFunction) else ""
    if not asked.tools or (name and all(tool.function.name != name for tool in asked.tools)):
        raise ProtocolError(FaultCode.INVALID, f"tool_choice names no function of tools: {name[:64] or choice}")
    return f"={name}" if name else str(choice)


def _called(done: Done) -> list[dict[str, Any]]:
    calls = done.ending.calls if done.ending is not None else ()
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]


def _finish(done: Done) -> str:
    ending = done.ending or Ending()
    return FINISHES.get(ending.finish, "tool_calls" if ending.calls else "stop")


def _role(role: str) -> str:
    return "system" if role == "developer" else role


def _usage(usage: Usage | None) -> dict[str, int]:
    counted = usage or Usage()
    prompt, completion = counted.prompt_tokens, counted.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _whole(done: Done, model: str) -> Response:
    if done.status not in ANSWERED:
        code, message = _failure(done)
        return refusal(code, message, openai_error)
    said: dict[str, Any] = {"role": "assistant", "content": done.text, "refusal": None}
    if calls := _called(done):
        said |= {"content": done.text or None, "tool_calls": calls}
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": _finish(done)}
    return JSON(
        {
            "id": f"chatcmpl-{done.turn}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [choice],
            "usage": _usage(done.usage),
            "sources": done.sources,
        }
    )


def _failure(done: Done) -> tuple[FaultCode, str]:
    fault = done.fault or Fault(done.status.value, f"the turn ended as {done.status.value}")
    return _code(fault.code), fault.message


def _code(text: str) -> FaultCode:
    try:
        return FaultCode(text)
    except ValueError:
        return FaultCode.FAILED


async def _stream(frames: AsyncGenerator[Frame, None], turn: str, asked: Completion) -> AsyncIterator[bytes]:
    """Server-sent events. An answer that starts anew after text was sent cannot be told in this protocol: it ends in an
    error that says so, and the client asks again.
    """
    head = {
        "id": f"chatcmpl-{turn}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": asked.model,
    }
    sent = False

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice], **more})

    try:
        async with contextlib.aclosing(frames):
            yield chunk({"role": "assistant", "content": ""})
            async for frame in frames:
                match frame:
                    case AnswerDelta():
                        sent = True
                        yield chunk({"content": frame.text})
                    case Restarted() if sent:
                        raise EngineError("the answer had to start anew after a failure; send the request again")
                    case Done() if frame.status in ANSWERED:
                        if calls := _called(frame):
                            yield chunk({"tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]})
                        yield chunk({}, _finish(frame), sources=frame.sources)
                        if asked.stream_options is not None and asked.stream_options.include_usage:
                            yield _event({**head, "choices": [], "usage": _usage(frame.usage)})
                        yield b"data: [DONE]\n\n"
                    case Done():
                        code, message = _failure(frame)
                        yield _event(openai_error(code, message, code in RETRYABLE))
                    case _:
                        pass
    except ParleyError as error:
        yield _event(openai_error(error.code, str(error), error.retryable))


def _event(data: Any) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
