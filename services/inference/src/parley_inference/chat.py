"""Reads the answer to a chat completion, streamed or whole, into pieces. Pure: bytes in, pieces out."""

from collections.abc import Iterator

import msgspec

from parley_inference.engine import Piece
from parley_inference.sse import MAX_EVENT, EventTooLarge, SseReader
from parley_protocol.events import Ending, ToolCall, Usage
from parley_runtime.errors import EngineError

MAX_CALLS = 64
FINISHES = {"length": "length", "content_filter": "filter"}
"""Finish reasons of an answer that is not whole."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Text(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    message: _Text | None = None
    finish_reason: str | None = None
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw(b"")
    object: str = ""


_decoder = msgspec.json.Decoder(_Chunk)


class ChatReader:
    """One answer. ``finished`` once it is whole: ``[DONE]``, or the end after a finish reason."""

    def __init__(self, content_type: str) -> None:
        self.finished = False
        self._whole = bytearray() if content_type.startswith("application/json") else None
        self._sse = SseReader()
        self._reason = ""
        self._said = False
        self._calls: dict[int, list[str]] = {}
        """By the server's number: id, name and arguments, as far as they have come."""

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """Pieces in ``chunk``.

        Raises:
            EngineError: the server reported an error within the stream, or sent what is no completion.
        """
        if self._whole is not None:
            self._whole += chunk
            if len(self._whole) > 4 * MAX_EVENT:
                raise EngineError("the server's answer is far too large for a completion")
            return
        try:
            events = self._sse.feed(chunk)
        except EventTooLarge as error:
            raise EngineError(f"the server's stream is no completion: {error}") from None
        for data in events:
            yield from self._event(data.encode())

    def end(self) -> Iterator[Piece]:
        """The server has sent all it will. Raises EngineError where the answer is not whole."""
        if self._whole is not None:
            yield from self._event(bytes(self._whole))
        elif (data := self._sse.end()) is not None:
            yield from self._event(data.encode())
        if not self.finished and not self._reason:
            raise EngineError("the server cut the answer off before its end")
        yield from self._finish()

    def _event(self, data: bytes) -> Iterator[Piece]:
        if self.finished:
            return
        if data.strip() == b"[DONE]":
            yield from self._finish()
            return
        try:
            chunk = _decoder.decode(data)
        except (msgspec.MsgspecError, RecursionError):
            raise EngineError("the server's stream holds something that is no completion chunk") from None
        if (bytes(chunk.error) not in (b"", b"null")) or chunk.object == "error":
            raise EngineError("the server reported an error within its answer")
        for choice in chunk.choices or ():
            text = choice.delta or choice.message
            self._reason = choice.finish_reason or self._reason
            if choice.index == 0 and text and text.content:
                self._said = True
                yield Piece(text.content)
            if choice.index == 0 and text and text.tool_calls:
                self._gather(text.tool_calls, whole=choice.message is not None)
        if chunk.usage is not None:
            yield Piece("", Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0))

    def _gather(self, calls: list[_Call], *, whole: bool) -> None:
        for at, call in enumerate(calls):
            held = self._calls.setdefault(at if whole else call.index, ["", "", ""])
            held[0] = call.id or held[0]
            if call.function is not None:
                held[1] += call.function.name or ""
                held[2] += call.function.arguments or ""
        if len(self._calls) > MAX_CALLS or sum(len(held[2]) for held in self._calls.values()) > MAX_EVENT:
            raise EngineError("the model wants to call far more than a client could")

    def _finish(self) -> Iterator[Piece]:
        if self.finished:
            return
        calls = tuple(
            ToolCall(id or f"call_{index}", name, arguments or "{}")
            for index, (id, name, arguments) in sorted(self._calls.items())
            if name
        )
        if not self._said and not calls:
            why = f" (finish reason {self._reason})" if self._reason.isidentifier() else ""
            raise EngineError(f"the model gave no text{why}")
        self.finished = True
        finish = FINISHES.get(self._reason, "")
        if calls or finish:
            yield Piece("", ending=Ending(finish, calls))
