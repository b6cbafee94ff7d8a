"""SIGTERM of a real gateway: every socket hears ``draining`` and is closed with 4001, never with the server's own 1012;
requests over HTTP end well.
"""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from parley_testkit.stack import Service, Stack

from .sockets import Socket, opened

pytestmark = pytest.mark.e2e

IDLE = 20
Make = Callable[..., Stack]


@pytest.fixture
def stack(make_stack: Make, request: pytest.FixtureRequest) -> Stack:
    """Answers of ``tokens`` tokens, 20 ms apart."""
    tokens, drain_s = request.param
    return make_stack(
        f"drain-{tokens}-{drain_s}",
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_TOKENS=str(tokens),
        PARLEY_SCRIPT_INTERVAL_MS="20",
        PARLEY_DRAIN_S=str(drain_s),
    )


def signalled(gateway: Service, number: signal.Signals = signal.SIGTERM) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(number)


async def ended(socket: Socket) -> tuple[list[str], int]:
    """Kinds of the frames up to the end, and the close code."""
    code, _ = await socket.closed()
    return [frame["type"] for frame in socket.frames], code


async def streamed(url: str, began: asyncio.Event) -> list[Any]:
    """Events of a streaming completion, read to the end of the body."""
    events: list[Any] = []
    body = {"model": "parley", "stream": True, "messages": [{"role": "user", "content": "why?"}]}
    async with (
        httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                data = line.removeprefix("data: ")
                events.append(data if data == "[DONE]" else json.loads(data))
                began.set()
    return events


@pytest.mark.parametrize("stack", [(60, 10)], indirect=True)
async def test_in_time(stack: Stack) -> None:
    """Idle sockets are closed at their times, a busy one and a streaming request when they have their answers."""
    began = asyncio.Event()
    async with AsyncExitStack() as sockets:
        idle = [await sockets.enter_async_context(opened(stack.url)) for _ in range(IDLE)]
        silent = await sockets.enter_async_context(opened(stack.url, greet=False))
        busy = await sockets.enter_async_context(opened(stack.url))
        await busy.start("a")
        await busy.until("answer.delta")
        request = asyncio.create_task(streamed(stack.url, began))
        await began.wait()
        signalled(stack.gateway)
        ends = await asyncio.gather(*(ended(socket) for socket in (*idle, silent)))
        kinds, code = await ended(busy)
        events = await request
    assert {code for _, code in ends} == {4001}
    assert all("draining" in kinds for kinds, _ in ends)
    assert code == 4001
    assert kinds.index("draining") < kinds.index("turn.done"), "the answer came after the news"
    assert events[-1] == "[DONE]"
    assert await asyncio.to_thread(stack.gateway.wait) == 0
    assert "1012" not in stack.gateway.text()


@pytest.mark.parametrize("stack", [(2000, 2)], indirect=True)
async def test_out_of_time(stack: Stack) -> None:
    """A turn that is not over when time is up: its socket is closed resumably, its request is told to ask again."""
    began = asyncio.Event()
    async with opened(stack.url) as busy, opened(stack.url) as idle:
        await busy.start("a")
        await busy.until("answer.delta")
        request = asyncio.create_task(streamed(stack.url, began))
        await began.wait()
        signalled(stack.gateway)
        ends = await asyncio.gather(ended(busy), ended(idle))
        events = await request
    assert [code for _, code in ends] == [4001, 4001]
    assert "turn.done" not in ends[0][0]
    assert events[-1]["error"]["code"] == "overloaded"
    assert await asyncio.to_thread(stack.gateway.wait) == 0


@pytest.mark.parametrize("stack", [(2000, 8)], indirect=True)
async def test_in_a_hurry(stack: Stack) -> None:
    """A second signal ends the waiting, not the manners."""
    async with opened(stack.url) as busy:
        await busy.start("a")
        await busy.until("answer.delta")
        signalled(stack.gateway)
        await busy.until("draining")
        # A second signal within a second of the first is taken for the same one: 80 tokens take 1.6 s.
        await busy.until_text("a", len(busy.seen("a").text) + 80 * len("t1000 "))
        signalled(stack.gateway)
        _, code = await ended(busy)
    assert code == 4001
    assert await asyncio.to_thread(stack.gateway.wait) == 0
