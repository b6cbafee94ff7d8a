"""What a worker says of a run that a gateway has abandoned: only that nobody follows it, and only once that is sure."""

import asyncio

import pytest

from parley_protocol.control import Attach, Audience, Detached, Leave
from parley_protocol.routes import Stage
from parley_runtime.work import runs
from parley_testkit.house import KEY, House, Script, prompt, scripted

pytestmark = [pytest.mark.unit, pytest.mark.virtual_time]


class Words:
    """The ``Detached`` that a gateway hears, and when."""

    def __init__(self, house: House) -> None:
        self.heard: list[Detached] = []
        self.event = asyncio.Event()
        house.gateway.control.on(Detached, self._on)

    def _on(self, word: Detached) -> None:
        self.heard.append(word)
        self.event.set()

    async def within(self, seconds: float) -> bool:
        """Whether one comes within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self.event.wait()
        except TimeoutError:
            return False
        return True


async def speaking(house: House) -> Script:
    """A run that has said something and goes on when it is allowed to."""
    script = Script("Hello ", "world")
    await house.worker(scripted(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    return script


async def leave(house: House) -> None:
    assert await house.gateway.control.broadcast(Audience.WORKERS, Leave(KEY, "gw", abandoned=True))


async def test_an_abandoned_run_that_nobody_follows_is_said_to_be_detached(house: House) -> None:
    words = Words(house)
    await speaking(house)
    await leave(house)
    assert not await words.within(runs.DETACHED_S - 0.5)
    assert await words.within(1.0)
    assert words.heard == [Detached(KEY, 1, "w1")]


async def test_leaving_without_a_word_of_abandoning_is_not_answered(house: House) -> None:
    words = Words(house)
    await speaking(house)
    assert await house.gateway.control.broadcast(Audience.WORKERS, Leave(KEY, "gw"))
    assert not await words.within(3 * runs.DETACHED_S)


@pytest.mark.parametrize("late", [False, True])
async def test_a_run_that_another_gateway_follows_is_not_detached(house: House, late: bool) -> None:
    words = Words(house)
    other = await house.another_gateway("gw2")
    await speaking(house)
    if late:
        await leave(house)
        assert not await words.within(runs.DETACHED_S / 2)
    await other.control.broadcast(Audience.WORKERS, Attach("gw2", (KEY,)))
    await other.until(lambda: other.text(KEY) == "Hello ")
    if not late:
        await leave(house)
    assert not await words.within(3 * runs.DETACHED_S)


async def test_a_run_that_is_over_is_not_detached(house: House) -> None:
    words = Words(house)
    records = await house.tap(Stage.RECORD)
    script = await speaking(house)
    await leave(house)
    script.allow(2)
    await records.next()
    assert not await words.within(3 * runs.DETACHED_S)
