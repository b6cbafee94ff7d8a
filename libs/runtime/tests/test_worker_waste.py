"""What is generated and thrown away is counted with its tokens, by why."""

import asyncio

import pytest

from parley_protocol.control import Begin, Stop
from parley_protocol.routes import DEAD_QUEUE, Stage
from parley_protocol.work import Generate, Record
from parley_runtime.errors import EngineError
from parley_runtime.stage import Run, StageSpec
from parley_runtime.telemetry import metrics, names
from parley_testkit.house import KEY, House, Script, other, prompt, scripted

pytestmark = pytest.mark.unit


class Meter:
    """What was wasted since it was made."""

    def __init__(self, why: str) -> None:
        self._why = why
        self._before = self._now()

    def _now(self) -> tuple[float, float]:
        generations = metrics.value(names.WASTED, "generate", self._why)
        return generations, metrics.value(names.WASTED_TOKENS, "generate", self._why)

    @property
    def wasted(self) -> tuple[float, float]:
        """Generations and tokens."""
        now = self._now()
        return now[0] - self._before[0], now[1] - self._before[1]


async def half_said(house: House) -> Script:
    """A run with two of its three words out."""
    script = Script("one ", "two ", "three")
    await house.worker(scripted(script))
    script.allow(2)
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "one two ")
    return script


async def test_a_stopped_run(house: House) -> None:
    meter = Meter("stopped")
    script = await half_said(house)
    house.gateway.control.post("workers", Stop(KEY))
    await asyncio.wait_for(script.cancelled.wait(), 30)
    assert meter.wasted == (1, 2)


async def test_a_superseded_run(house: House) -> None:
    meter = Meter("superseded")
    script = await half_said(house)
    house.gateway.control.post("workers", Begin(KEY, 2, "w9"))
    await asyncio.wait_for(script.cancelled.wait(), 30)
    assert meter.wasted == (1, 2)


async def test_a_run_that_is_handed_over(house: House) -> None:
    meter = Meter("handed_over")
    script = Script("one ", "two")
    worker = await house.worker(scripted(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "one ")
    await worker.drain(0.0)
    assert meter.wasted == (1, 1)


@pytest.mark.parametrize(("words", "expected"), [((), (0, 0)), (("one ", "two "), (1, 2))])
async def test_a_run_that_fails_and_is_tried_again(
    house: House, words: tuple[str, ...], expected: tuple[float, float]
) -> None:
    retries = await house.tap("parley.retry.0")
    meter = Meter("retried")

    async def failing(run: Run[Generate]) -> Record:
        for word in words:
            run.delta(word)
        raise EngineError("The engine is busy.")

    await house.worker(StageSpec(Stage.GENERATE, Generate, 1, failing))
    await house.gateway.publish(prompt())
    await retries.next()
    assert meter.wasted == expected


async def test_a_run_that_never_had_a_seat_wastes_nothing(house: House) -> None:
    meter = Meter("stopped")
    records = await house.tap(Stage.RECORD)
    script = Script("one")
    await house.worker(scripted(script))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    # The broker thinks the channel is gone and delivers another turn beside the running one.
    house.broker.cut("w1")
    await house.gateway.publish(prompt(key=other()))
    house.gateway.control.post("workers", Stop(other()))
    script.allow(2)
    await records.next()
    assert meter.wasted == (0, 0)


async def test_a_job_that_cannot_be_parked_is_kept_by_the_broker(house: House) -> None:
    """The dead letters' exchange leads nowhere for a moment: the job stays, without its cause."""
    await house.claim()
    records = await house.tap(Stage.RECORD)

    async def failing(run: Run[Generate]) -> Record:
        house.broker.delete_queue(DEAD_QUEUE)
        raise EngineError("The engine is busy.")

    worker = await house.worker(StageSpec(Stage.GENERATE, Generate, 1, failing))
    parked = metrics.value(names.JOBS, "generate", "parked")
    await house.gateway.publish(prompt(tries=3, again=True))
    await records.next()
    async with asyncio.timeout(30):
        while metrics.value(names.JOBS, "generate", "parked") == parked:
            await house.store.ping()
    dead = await house.tap(DEAD_QUEUE)
    letter = await dead.delivery()
    assert letter.death == ("rejected", "parley.generate")
    await worker.drain(5)
