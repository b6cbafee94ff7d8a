"""Virtual time jumps, and only when there is nothing else to do."""

import asyncio
import time

import pytest

from parley_runtime.ports import Clock
from parley_testkit import clock as clock_module
from parley_testkit.clock import START_S, Stalled, VirtualClock, VirtualLoop

pytestmark = [pytest.mark.unit, pytest.mark.virtual_time]


async def test_an_hour_takes_no_time(virtual_clock: VirtualClock) -> None:
    began = time.monotonic()
    await asyncio.sleep(3600)
    assert virtual_clock.monotonic() == pytest.approx(START_S + 3600)
    assert time.monotonic() - began < 5


async def test_timers_fire_in_order_and_at_their_time(virtual_clock: VirtualClock) -> None:
    seen: list[tuple[float, float]] = []

    async def after(seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((seconds, virtual_clock.monotonic() - START_S))

    await asyncio.gather(after(3), after(1), after(2))
    assert [(seconds, round(at, 6)) for seconds, at in seen] == [(1, 1), (2, 2), (3, 3)]


async def test_a_deadline_passes_in_virtual_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(600):
            await asyncio.Event().wait()


async def test_time_stands_still_while_a_thread_works(virtual_clock: VirtualClock) -> None:
    timer = asyncio.create_task(asyncio.sleep(1000))
    await asyncio.to_thread(time.sleep, 0.05)
    assert virtual_clock.monotonic() == START_S
    timer.cancel()


async def test_a_jump_makes_timers_late(virtual_clock: VirtualClock) -> None:
    sleeper = asyncio.create_task(asyncio.sleep(1))
    await asyncio.sleep(0)
    virtual_clock.advance(100)
    await sleeper
    assert virtual_clock.monotonic() == pytest.approx(START_S + 100)


def test_a_loop_that_nothing_can_wake_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "STALL_S", 0.05)
    loop = VirtualLoop()
    forever: asyncio.Future[None] = loop.create_future()
    try:
        with pytest.raises(Stalled):
            loop.run_until_complete(forever)
    finally:
        loop.close()


def test_a_clock_without_a_loop_moves_only_when_told() -> None:
    clock = VirtualClock()
    port: Clock = clock
    before = port.wall()
    clock.advance(2.5)
    assert port.monotonic() == START_S + 2.5
    assert port.wall() - before == pytest.approx(2.5)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
