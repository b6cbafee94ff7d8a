"""Reads an answer of Dify, streamed or whole, into pieces. Pure: bytes in, pieces out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from parley_inference.engine import Piece
from parley_inference.engines.dify_errors import explain, garbled, unreachable
from parley_inference.sse import MAX_EVENT, EventTooLarge, SseReader
from parley_protocol.events import Source, Usage

MAX_SOURCES = 20
MAX_SOURCE_TEXT = 4_000
BLOCK = 24
"""Characters of the pieces that a whole answer is cut into."""
_TASK = re.compile(r"[A-Za-z0-9_-]{1,128}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PRICE = re.compile(r"\d{1,12}(?:\.\d{1,12})?(?:[eE]-?\d{1,2})?")


class _Event(msgspec.Struct):
    event: str = ""
    task_id: str | None = None
    conversation_id: str | None = None


class _Answer(msgspec.Struct):
    answer: str | None = None


class _Error(msgspec.Struct):
    status: Any = None
    code: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    total_price: str | float | None = None
    currency: str | None = None


class _Resource(msgspec.Struct):
    segment_id: str | None = None
    document_name: str | None = None
    dataset_name: str | None = None
    score: float | None = None
    content: str | None = None


class _Metadata(msgspec.Struct):
    usage: _Usage | None = None
    retriever_resources: list[_Resource] | None = None


class _End(msgspec.Struct):
    metadata: _Metadata | None = None


_events = msgspec.json.Decoder(_Event)
_answers = msgspec.json.Decoder(_Answer)
_errors = msgspec.json.Decoder(_Error)
_ends = msgspec.json.Decoder(_End, strict=False)
_BAD = (msgspec.MsgspecError, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call cost: ``price`` as Dify writes it."""

    tokens: int
    price: str
    currency: str


class DifyReader:
    """One answer. ``task`` and ``thread`` are Dify's names of the run and of the conversation, "" until known."""

    def __init__(self, content_type: str, *, threaded: bool = False) -> None:
        self.task = ""
        self.thread = ""
        self.bill: Bill | None = None
        self.finished = False
        self.events = 0
        """Events so far, pings not counted."""
        self._threaded = threaded
        self._whole = bytearray() if content_type.startswith("application/json") else None
        self._sse = SseReader()
        self._text = ""

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """Pieces in ``chunk``.

        Raises:
            EngineError, EngineRejected: Dify reported an error within its answer, or sent what is none.
        """
        if self._whole is not None:
            self._whole += chunk
            if len(self._whole) > 4 * MAX_EVENT:
                raise garbled()
            return
        try:
            events = self._sse.feed(chunk)
        except EventTooLarge:
            raise garbled() from None
        for data in events:
            yield from self._event(data.encode())

    def end(self) -> Iterator[Piece]:
        """Dify has sent all it will. Raises EngineError where the answer is not whole."""
        if self._whole is not None:
            yield from self._event(bytes(self._whole), whole=True)
        elif (data := self._sse.end()) is not None:
            yield from self._event(data.encode())
        if not self.finished:
            raise unreachable("回答中途断开") if self.events or self._whole is None else garbled()

    def _event(self, data: bytes, *, whole: bool = False) -> Iterator[Piece]:
        if self.finished:
            return
        try:
            event = _events.decode(data)
        except _BAD:
            raise garbled() from None
        if event.event == "ping":
            return
        self.events += 1
        if event.task_id and _TASK.fullmatch(event.task_id):
            self.task = self.task or event.task_id
        if event.conversation_id and event.conversation_id != self.thread and len(event.conversation_id) <= 128:
            self.thread = event.conversation_id
            yield Piece("", thread=self.thread)
        match event.event:
            case "message" | "agent_message":
                yield from self._said(_text(data), whole=whole)
            case "message_replace":
                yield from self._replaced(_text(data))
            case "error":
                raise self._error(data)
            case "message_end":
                yield from self._ended(data)
            case _:
                pass  # nodes, thoughts, files, speech, and what a newer Dify says
        if whole:
            if event.event not in ("message", "agent_message"):
                raise garbled()
            yield from self._ended(data)

    def _said(self, text: str, *, whole: bool) -> Iterator[Piece]:
        self._text += text
        step = BLOCK if whole else max(1, len(text))
        for start in range(0, len(text), step):
            yield Piece(text[start : start + step])

    def _replaced(self, text: str) -> Iterator[Piece]:
        """Dify's moderation puts another text in place of the one so far. What was said stays; the new one follows."""
        more = text.removeprefix(self._text) if text.startswith(self._text) else f"\n\n{text}"
        self._text = text
        if more:
            yield Piece(more)

    def _error(self, data: bytes) -> Exception:
        self.finished = True
        error = _errors.decode(data)
        status = error.status if isinstance(error.status, int) and 100 <= error.status < 600 else 500
        code = error.code if isinstance(error.code, str) and re.fullmatch(r"[a-z_]{1,64}", error.code) else ""
        return explain(status, code, threaded=self._threaded)

    def _ended(self, data: bytes) -> Iterator[Piece]:
        self.finished = True
        try:
            metadata = _ends.decode(data).metadata or _Metadata()
        except _BAD:
            metadata = _Metadata()  # figures of another shape do not spoil an answer
        usage = metadata.usage or _Usage()
        self.bill = _bill(usage)
        prompt, completion = max(0, usage.prompt_tokens or 0), max(0, usage.completion_tokens or 0)
        yield Piece("", Usage(prompt, completion), sources=_sources(metadata.retriever_resources or []))


def _text(data: bytes) -> str:
    try:
        return _answers.decode(data).answer or ""
    except _BAD:
        raise garbled() from None


def _bill(usage: _Usage) -> Bill:
    tokens = usage.total_tokens or (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    price = str(usage.total_price) if usage.total_price is not None else "0"
    currency = usage.currency or "USD"
    return Bill(
        max(0, tokens),
        price if _PRICE.fullmatch(price) else "0",
        currency if _CURRENCY.fullmatch(currency) else "USD",
    )


def _sources(resources: list[_Resource]) -> tuple[Source, ...]:
    return tuple(
        Source(
            id=each.segment_id or str(number),
            document=each.document_name or "",
            title=each.dataset_name or "",
            score=each.score or 0.0,
            text=(each.content or "")[:MAX_SOURCE_TEXT],
            start=0,
            end=len((each.content or "")[:MAX_SOURCE_TEXT]),
        )
        for number, each in enumerate(resources[:MAX_SOURCES], 1)
    )
