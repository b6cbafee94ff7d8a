"""Claims that cross: none lands over the head of whoever holds the message by then. And the setting ``always``."""

import asyncio
from typing import Any, cast

import pytest

from parley_protocol.events import Snapshot
from parley_protocol.routes import Stage
from parley_protocol.work import Generate, Job, Record
from parley_runtime.store.ports import Claimed, Store, Stored
from parley_runtime.telemetry import metrics, names
from parley_runtime.work.options import Claim, WorkerOptions
from parley_testkit.house import KEY, Door, House, Script, first_stage, other, prompt, question, scripted

pytestmark = pytest.mark.unit

ALWAYS = WorkerOptions(claim=Claim.ALWAYS)


class SlowStore:
    """A store whose first claim waits for the test, at the last moment before it lands."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.landed: asyncio.Queue[object] = asyncio.Queue()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not name.startswith("claim_"):
            return method

        async def claim(*key: Any, **asked: Any) -> object:
            self.entered.set()
            await self.go.wait()
            result = await method(*key, **asked)
            self.landed.put_nowait(result)
            return result

        return claim


async def slow_worker(house: House, *stages: Any, name: str, options: WorkerOptions | None = None) -> SlowStore:
    """A worker whose claims wait."""
    working, slow = house.store, SlowStore(house.store)
    house.store = cast(Store, slow)
    await house.worker(*stages, name=name, options=options)
    house.store = working
    return slow


@pytest.mark.parametrize("job", [prompt(again=True), prompt()], ids=["again", "first"])
async def test_a_claim_that_comes_too_late_does_not_supersede_the_holder(house: House, job: Job) -> None:
    """The claim of a delivery that was lost meanwhile lands while the next holder is at work, and then its worker is
    gone for good: no message would stand for that fence.
    """
    await house.claim()
    records = await house.tap(Stage.RECORD)
    options = ALWAYS if not job.again else None
    slow = await slow_worker(house, scripted(Script()), name="late", options=options)
    heir = Script("Hello")
    await house.gateway.publish(job)
    await slow.entered.wait()
    await house.worker(scripted(heir), name="heir", options=options)
    house.broker.part("late")
    await asyncio.wait_for(heir.entered.wait(), 30)
    slow.go.set()
    assert not isinstance(await asyncio.wait_for(slow.landed.get(), 30), Claimed)
    heir.allow(2)
    result = await records.next()
    assert isinstance(result, Record)
    assert isinstance(await house.store.close(result), Stored)


async def test_a_first_claim_that_comes_too_late_does_not_supersede_the_holder(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    slow = await slow_worker(house, first_stage(Door()), name="late")
    await house.gateway.publish(question())
    await slow.entered.wait()
    door = Door()
    await house.worker(first_stage(door), name="heir")
    house.broker.part("late")
    await asyncio.wait_for(door.entered.wait(), 30)
    slow.go.set()
    assert not isinstance(await asyncio.wait_for(slow.landed.get(), 30), Claimed)
    door.open.set()
    job = await jobs.next()
    [row] = await house.store.rows([KEY])
    assert (job.base, job.fence) == (row.base, row.fence) == (1, 1)


async def test_a_delivery_called_the_first_that_is_not_asks_for_what_was_delivered(house: House) -> None:
    """The broker's word counts for nothing: the row has been claimed for this job before."""
    await house.claim()
    await house.store.claim_later(KEY, base=1)
    house.gateway.prefixes[KEY] = "Hello "
    records = await house.tap(Stage.RECORD)
    heir = Script("you", resumes=True, permits=9)
    await house.worker(scripted(heir), options=WorkerOptions(claim=Claim.ALWAYS, begin_wait_s=5))
    await house.gateway.publish(prompt())
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text, heir.prefixes) == (3, "Hello you", ["Hello "])


async def test_always_claims_first_deliveries_and_waits_for_nobody(house: House) -> None:
    await house.claim()
    house.gateway.prefixes[KEY] = "never asked"
    records = await house.tap(Stage.RECORD)
    claimed = metrics.value(names.CLAIMS, "generate", "claimed")
    script = Script("Hello", permits=9)
    await house.worker(scripted(script), options=WorkerOptions(claim=Claim.ALWAYS, begin_wait_s=5, begin_more_s=5))
    await house.gateway.publish(prompt())
    result = await records.next(limit_s=4.5)
    assert isinstance(result, Record)
    assert (result.base, result.fence, result.text, script.prefixes) == (1, 2, "Hello", [""])
    assert metrics.value(names.CLAIMS, "generate", "claimed") == claimed + 1
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello")
    await house.gateway.until(lambda: [begin.fence for begin in house.gateway.begins] == [2])
    assert isinstance(house.gateway.events(KEY)[0], Snapshot)
    assert isinstance(await house.store.close(result), Stored)


async def test_always_drops_a_job_of_another_base_even_if_it_is_called_the_first(house: House) -> None:
    await house.claim()
    await house.store.claim_first(other(), submission="s", digest="d", question="Who?")
    records = await house.tap(Stage.RECORD)
    script = Script("Hello", permits=9)
    await house.worker(scripted(script), options=ALWAYS)
    await house.gateway.publish(prompt(base=7))
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next()).key == other()
    assert len(script.runs) == 1


async def test_both_stages_together_always_claim(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    door = Door()
    door.open.set()
    await house.worker(first_stage(door), scripted(Script("Hello", permits=9)), options=ALWAYS)
    await house.gateway.publish(question())
    result = await records.next()
    assert (result.base, result.fence) == (1, 2)
    assert isinstance(cast(Generate | Record, result), Record)
