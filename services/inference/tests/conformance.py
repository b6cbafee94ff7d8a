"""What every engine must do. A new engine adds one case to ``test_conformance.py`` and passes all of these."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest

from parley_inference.engine import Generator, Request, stream
from parley_runtime.errors import Expired
from parley_testkit.timing import least

STOP_S = 0.1
"""Bound of the cancel promise."""
LIMIT_S = 60.0


async def whole(engine: Generator, request: Request, prefix: str = "") -> str:
    """The text of one run."""
    parts = []
    async with asyncio.timeout(LIMIT_S), aclosing(stream(engine, request, prefix=prefix)) as pieces:
        async for piece in pieces:
            parts.append(piece.text)
    return "".join(parts)


async def pieces_add_up(engine: Generator, request: Request, expected: str) -> None:
    """Several pieces, none empty but the last; usage once, at the end."""
    got = []
    async with asyncio.timeout(LIMIT_S), aclosing(stream(engine, request)) as pieces:
        async for piece in pieces:
            got.append(piece)
    texts = [piece.text for piece in got if piece.text]
    assert len(texts) > 3
    assert "".join(texts) == expected
    assert [piece.usage is not None for piece in got] == [False] * (len(got) - 1) + [True]
    assert got[-1].usage is not None
    assert got[-1].usage.completion_tokens > 0


async def _interrupted(engine: Generator, request: Request) -> float:
    """Seconds from the cancel of a run in mid-answer until its task has ended."""
    speaking = asyncio.Event()

    async def read() -> None:
        async with aclosing(stream(engine, request)) as pieces:
            async for piece in pieces:
                if piece.text:
                    speaking.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(speaking.wait(), LIMIT_S)
    assert not task.done()
    begun = time.perf_counter()
    task.cancel()
    await asyncio.wait({task}, timeout=LIMIT_S)
    assert task.cancelled()
    return time.perf_counter() - begun


async def cancel_is_prompt(engine: Generator, endless: Request, request: Request, expected: str) -> None:
    """A cancel in mid-answer ends the run within 100 ms, and the engine goes on answering."""
    assert await least(lambda: _interrupted(engine, endless), under=STOP_S) < STOP_S
    assert await whole(engine, request) == expected


async def closing_is_prompt(engine: Generator, endless: Request) -> None:
    """Closing the generator is a cancel too."""

    async def stop() -> float:
        pieces = stream(engine, endless)
        await anext(pieces)
        begun = time.perf_counter()
        await pieces.aclose()
        took = time.perf_counter() - begun
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)
        return took

    assert await least(stop, under=STOP_S) < STOP_S


async def requests_are_isolated(engine: Generator, ask: Callable[[int], tuple[Request, str]]) -> None:
    """50 different requests at once: each gets its own answer."""
    cases = [ask(which) for which in range(50)]
    answers = await asyncio.gather(*(whole(engine, request) for request, _ in cases))
    assert answers == [expected for _, expected in cases]


async def cancelling_some_leaves_the_others(engine: Generator, ask: Callable[[int], tuple[Request, str]]) -> None:
    """100 at once, 10 cancelled in mid-answer: the other 90 are exact."""
    cases = [ask(which) for which in range(100)]
    begun = [asyncio.Event() for _ in cases]

    async def read(which: int) -> str:
        parts = []
        async with aclosing(stream(engine, cases[which][0])) as pieces:
            async for piece in pieces:
                parts.append(piece.text)
                begun[which].set()
        return "".join(parts)

    tasks = [asyncio.create_task(read(which)) for which in range(100)]
    async with asyncio.timeout(LIMIT_S):
        for which in range(0, 100, 10):
            await begun[which].wait()
            tasks[which].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for which, result in enumerate(results):
        if which % 10 == 0:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == cases[which][1]


async def deadline_is_kept(engine: Generator, endless: Request) -> None:
    """Past the deadline the run ends with Expired, soon, and not before."""

    async def expire() -> float:
        begun = time.perf_counter()
        with pytest.raises(Expired):
            await whole(engine, replace(endless, deadline_s=0.2))
        return time.perf_counter() - begun

    assert 0.19 < await least(expire, under=0.2 + STOP_S) < 0.2 + STOP_S


async def no_time_left(engine: Generator, endless: Request) -> None:
    """A request that comes too late ends at once."""
    with pytest.raises(Expired):
        await whole(engine, replace(endless, deadline_s=0.0))


async def repeats_itself(engine: Generator, request: Request) -> None:
    """A deterministic engine gives the same text again, with or without a prefix."""
    first = await whole(engine, request)
    assert await whole(engine, request) == first
    assert await whole(engine, request, prefix=first[: len(first) // 2]) == first
    assert await whole(engine, request, prefix="something else") == first


async def continues_a_prefix(engine: Generator, request: Request, expected: str) -> None:
    """An engine that continues gives only what follows, wherever the answer was cut."""
    for cut in (1, len(expected) // 2, len(expected) - 1):
        assert await whole(engine, request, prefix=expected[:cut]) == expected[cut:]
