"""Bounds, on real processes: turns that nobody follows, and a queue that is full."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from parley_testkit.stack import Stack, soon

from .harness import stored
from .sockets import opened

pytestmark = pytest.mark.e2e

Make = Callable[..., Stack]
LONG = {"PARLEY_ENGINE": "scripted", "PARLEY_SCRIPT_TOKENS": "3000", "PARLEY_SCRIPT_INTERVAL_MS": "20"}
"""Answers of a minute."""
ADMITTED = 3


def busy(stack: Stack) -> int:
    """Engine seats at work."""
    return sum(service.get("/statusz").json().get("busy", 0) for service in stack.of("inference"))


async def test_a_turn_that_nobody_follows_is_ended_and_its_seat_is_free(make_stack: Make) -> None:
    """A client that moved to the other gateway keeps its turn; one that went away for good loses it."""
    stack = make_stack(
        "abandoned", roles={"rag": 1, "inference": 1, "gateway": 2}, PARLEY_ABANDON_S="1", PARLEY_DRAIN_S="1", **LONG
    )
    first, second = (service.url for service in stack.of("gateway"))
    async with opened(first) as gone, opened(first) as moving:
        for socket, turn in ((gone, "gone"), (moving, "moved")):
            await socket.start(turn)
            await socket.until_text(turn, 20)
    async with opened(second, moving.memory, greet=False) as moved:
        await moved.resume()
        reading = asyncio.create_task(moved.until_done("moved"))
        row = await soon(lambda: stored(stack, "gone")[0]["status"] != "open" and stored(stack, "gone")[0], "ended")
        assert row["status"] == "expired"
        assert row["text"].startswith(gone.seen("gone").text)
        await soon(lambda: busy(stack) == 1, "one seat free")
        async with opened(first, gone.memory, greet=False) as back:
            await back.resume()
            done = await back.until_done("gone")
        assert (done["status"], done["fault"]["code"], done["text"]) == ("expired", "abandoned", row["text"])
        # The other turn's first gateway was left as long ago, and it goes on.
        assert not reading.done()
        await moved.send(type="turn.cancel", turn="moved")
        assert (await reading)["status"] == "cancelled"
    metrics = stack.of("gateway")[0].metrics()
    assert 'parley_detached_turns_total{outcome="abandoned"} 1.0' in metrics


async def test_a_full_queue_refuses_at_once_and_keeps_what_it_has(make_stack: Make) -> None:
    """Without a worker nothing leaves the first queue; when one comes, every accepted turn is answered."""
    stack = make_stack(
        "full",
        roles={"gateway": 1},
        PARLEY_ADMISSION=str(ADMITTED),
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_TOKENS="5",
        PARLEY_SCRIPT_INTERVAL_MS="1",
    )
    async with AsyncExitStack() as sockets:
        accepted, refused = [], []
        for _ in range(4 * ADMITTED):
            socket = await sockets.enter_async_context(opened(stack.url))
            asked = time.monotonic()
            await socket.start("a")
            frame = await socket.next()
            if frame["type"] == "turn.accepted":
                accepted.append(socket)
            else:
                refused.append((frame, time.monotonic() - asked))
        # The broker's bound is a soft one: a few more may slip in before it refuses.
        assert ADMITTED <= len(accepted) < 4 * ADMITTED
        for frame, waited in refused:
            assert (frame["type"], frame["code"], frame["retryable"]) == ("error", "overloaded", True)
            assert frame["retry_after_ms"] > 0
            assert waited < 1.0
        stack.add("rag")
        stack.add("inference")
        for socket in accepted:
            assert (await socket.until_done("a"))["status"] == "completed"
        again = await sockets.enter_async_context(opened(stack.url))
        await again.start("a")
        assert (await again.until_done("a"))["status"] == "completed"
    assert f'parley_refused_total{{bound="queue"}} {float(len(refused))}' in stack.gateway.metrics()
