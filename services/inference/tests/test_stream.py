"""The one way in which engines are called: pieces, deadline, cancellation."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from parley_inference.engine import Piece, Request, stream
from parley_protocol.events import Usage
from parley_protocol.work import ChatMessage
from parley_runtime.errors import Expired

pytestmark = pytest.mark.unit


class Engine:
    """Yields what it is given, then waits for ever where it is to; notes that it was stopped."""

    name = model = "test"
    deterministic = continues = False

    def __init__(self, *pieces: Piece, hangs: bool = False, deaf: bool = False) -> None:
        self.pieces = pieces
        self.hangs = hangs
        self.deaf = deaf
        self.waiting = asyncio.Event()
        self.stopped = False

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        try:
            for piece in self.pieces:
                yield piece
            if self.hangs:
                self.waiting.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self.deaf:
                raise
            yield Piece("deaf")
        finally:
            self.stopped = True

    def problem(self) -> str | None:
        return None

    async def close(self) -> None:
        return None


def ask(deadline_s: float) -> Request:
    return Request(messages=(ChatMessage("user", "why?"),), question="why?", deadline_s=deadline_s)


async def read(engine: Engine, deadline_s: float) -> list[str]:
    async with aclosing(stream(engine, ask(deadline_s))) as pieces:
        return [piece.text async for piece in pieces]


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_pieces_with_text_or_usage_come_through() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=2)
    engine = Engine(Piece("a"), Piece(""), Piece("b"), Piece("", usage))
    async with aclosing(stream(engine, ask(60))) as pieces:
        assert [piece async for piece in pieces] == [Piece("a"), Piece("b"), Piece("", usage)]
    assert engine.stopped


async def test_an_engine_that_hangs_is_stopped_at_the_deadline() -> None:
    engine = Engine(Piece("a"), hangs=True)
    got: list[str] = []
    with pytest.raises(Expired):
        async with asyncio.timeout(20), aclosing(stream(engine, ask(0.01))) as pieces:
            async for piece in pieces:
                got.append(piece.text)
    assert got == ["a"]
    assert engine.stopped
    assert cancelling() == 0


async def test_a_deadline_that_passes_while_the_reader_works_cancels_nothing_of_the_reader() -> None:
    engine = Engine(Piece("a"), Piece("b"))
    async with aclosing(stream(engine, ask(0))) as pieces:
        assert (await anext(pieces)).text == "a"
        for _ in range(5):
            await asyncio.sleep(0)  # the timer fires here
        with pytest.raises(Expired):
            await anext(pieces)
    assert engine.stopped
    assert cancelling() == 0


async def test_a_cancelled_reader_is_cancelled_and_not_expired() -> None:
    engine = Engine(hangs=True)
    reader = asyncio.create_task(read(engine, 60))
    await engine.waiting.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert engine.stopped


async def test_a_reader_that_is_cancelled_as_its_time_runs_out_is_cancelled() -> None:
    engine = Engine(hangs=True)
    reader = asyncio.create_task(read(engine, 0))
    await engine.waiting.wait()
    reader.cancel()  # the timer fires in this same turn of the loop
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_an_engine_that_ignores_its_cancellation_expires_all_the_same() -> None:
    engine = Engine(hangs=True, deaf=True)
    async with asyncio.timeout(20):
        got: list[str] = []
        with pytest.raises(Expired):
            async with aclosing(stream(engine, ask(0.01))) as pieces:
                async for piece in pieces:
                    got.append(piece.text)
    assert got == ["deaf"]
    assert cancelling() == 0
