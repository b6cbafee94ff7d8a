"""The worker loop on a real RabbitMQ: what only a broker can show about redelivery, ladders and dead letters."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from parley_protocol.control import Audience
from parley_protocol.events import Snapshot
from parley_protocol.routes import DEAD_QUEUE, Stage, topology
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.amqp import AmqpBroker
from parley_runtime.control import ControlPlane
from parley_runtime.errors import EngineError
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store, Stored
from parley_runtime.work.options import Claim, WorkerOptions
from parley_runtime.worker import Worker, open_worker
from parley_testkit.house import KEY, prompt, question
from parley_testkit.rabbit import RabbitNode
from parley_testkit.turns import FakeGateway, JobTap

pytestmark = pytest.mark.rabbit


class RealHouse:
    """Processes on one virtual host of a real broker."""

    def __init__(self, stack: AsyncExitStack, url: str, store: Store) -> None:
        self.store = store
        self._stack = stack
        self._url = url

    def broker(self, name: str) -> AmqpBroker:
        made = AmqpBroker(self._url, name=name, topology=topology(), heartbeat_s=5)
        self._stack.push_async_callback(made.close)
        return made

    async def gateway(self) -> FakeGateway:
        return await FakeGateway.open(self.broker("gw"), "gw")

    async def tap(self, queue: str) -> JobTap:
        return await JobTap.open(self.broker("tap"), queue)

    async def worker(
        self, name: str, *stages: StageSpec[Any], options: WorkerOptions | None = None
    ) -> tuple[Worker, AmqpBroker]:
        broker = self.broker(name)
        control = await ControlPlane.open(broker, process_id=name, audience=Audience.WORKERS)
        worker = open_worker(stages, broker=broker, store=self.store, control=control, options=options)
        return await self._stack.enter_async_context(worker), broker


@pytest.fixture
async def house(rabbit: RabbitNode, tmp_path: Path) -> AsyncIterator[RealHouse]:
    host = f"worker-{secrets.token_hex(4)}"
    url = await asyncio.to_thread(rabbit.add_vhost, host)
    async with AsyncExitStack() as stack:
        store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/parley.db")
        stack.push_async_callback(store.aclose)
        yield RealHouse(stack, url, store)
    await asyncio.to_thread(rabbit.delete_vhost, host)


async def retrieve(run: Run[Retrieve]) -> Generate:
    run.status("retrieving")
    return following(run, [ChatMessage("user", run.job.question)])


RETRIEVE = StageSpec(Stage.RETRIEVE, Retrieve, 4, retrieve, first=True)


class Stutter:
    """Says its words; the first run stops after the first word for ever."""

    def __init__(self) -> None:
        self.prefixes: list[str] = []

    async def __call__(self, run: Run[Generate]) -> Record:
        self.prefixes.append(run.prefix)
        run.delta("Hello ")
        if len(self.prefixes) == 1:
            await asyncio.Event().wait()
        run.delta("world")
        return record(run)


async def test_first_deliveries_are_certainly_first(house: RealHouse) -> None:
    gateway, records = await house.gateway(), await house.tap(Stage.RECORD)

    async def generate(run: Run[Generate]) -> Record:
        run.delta("Hello")
        return record(run)

    await house.worker("w1", RETRIEVE, StageSpec(Stage.GENERATE, Generate, 2, generate))
    await gateway.publish(question())
    result = await records.next(limit_s=60)
    assert isinstance(result, Record)
    assert (result.text, result.base, result.fence) == ("Hello", 1, 1)
    await gateway.until(lambda: gateway.text(KEY) == "Hello")
    assert gateway.begins == []
    await gateway.close()


@pytest.mark.parametrize(("claim", "fence"), [(Claim.REDELIVERED, 2), (Claim.ALWAYS, 3)])
async def test_a_lost_worker_is_followed_by_one_that_goes_on_from_its_text(
    house: RealHouse, claim: Claim, fence: int
) -> None:
    gateway, records = await house.gateway(), await house.tap(Stage.RECORD)
    stutter = Stutter()
    stage = StageSpec(Stage.GENERATE, Generate, 1, stutter)
    options = WorkerOptions(claim=claim)
    _, doomed = await house.worker("w1", RETRIEVE, stage, options=options)
    await gateway.publish(question())
    await gateway.until(lambda: gateway.text(KEY) == "Hello ", limit_s=60)
    gateway.prefixes[KEY] = "Hello "
    await house.worker("w2", stage, options=options)
    await doomed.close()
    result = await records.next(limit_s=60)
    assert isinstance(result, Record)
    assert (result.text, result.base, result.fence) == ("Hello world", 1, fence)
    assert stutter.prefixes == ["", "Hello "]
    await gateway.until(lambda: gateway.text(KEY) == "Hello world")
    assert isinstance(gateway.events(KEY, fence=fence)[0], Snapshot)
    await gateway.close()


async def test_a_failing_job_comes_back_from_the_ladder_and_is_parked_in_the_end(house: RealHouse) -> None:
    gateway, records = await house.gateway(), await house.tap(Stage.RECORD)
    dead = await house.tap(DEAD_QUEUE)
    tries: list[int] = []

    async def failing(run: Run[Generate]) -> Record:
        tries.append(run.job.tries)
        raise EngineError("The engine is busy. Try again.")

    await house.worker("w1", StageSpec(Stage.GENERATE, Generate, 1, failing))
    await house.store.claim_first(KEY, submission="sub-1", digest="d1", question="Who?")
    await gateway.publish(prompt(budget_s=4.0))
    result = await records.next(limit_s=60)
    assert isinstance(result, Record)
    # One second on the first rung; the second rung would outlast the turn's time.
    assert tries == [0, 1]
    assert result.fault is not None
    assert (result.fault.code, result.fence) == ("engine_failed", 2)
    await gateway.publish(prompt(budget_s=30.0, tries=3, again=True))
    letter = await dead.delivery(limit_s=60)
    assert letter.headers["parley-reason"] == "exhausted"
    await gateway.close()


async def test_a_job_handed_over_carries_no_count_of_the_broker(house: RealHouse) -> None:
    """The copy is a first delivery to the broker; only its own mark says that the job may have been begun."""
    gateway, records = await house.gateway(), await house.tap(Stage.RECORD)
    stutter = Stutter()
    stage = StageSpec(Stage.GENERATE, Generate, 1, stutter)
    _, doomed = await house.worker("w0", RETRIEVE, stage)
    await gateway.publish(question())
    await gateway.until(lambda: gateway.text(KEY) == "Hello ", limit_s=60)
    stutter.prefixes.clear()  # the heir is to stop in mid-answer as well
    worker, _ = await house.worker("w1", stage)
    await doomed.close()
    await gateway.until(lambda: bool(stutter.prefixes), limit_s=60)
    await worker.drain(0.0)
    tap = await house.tap(Stage.GENERATE)
    handed = await tap.delivery(limit_s=60)
    assert (handed.redelivered, handed.delivery_count, handed.death) == (False, None, None)
    job = tap.jobs[0]
    assert (job.again, job.tries, job.base) == (True, 0, 1)
    assert records.jobs == []
    await gateway.close()


async def test_a_claim_that_comes_too_late_does_not_supersede_the_holder(house: RealHouse) -> None:
    """As on the broker in memory: the delivery is lost between its proof and its claim."""
    gateway, records = await house.gateway(), await house.tap(Stage.RECORD)
    entered, go, landed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    working = house.store

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(working, name)

        async def claim_later(self, *key: Any, **asked: Any) -> Any:
            entered.set()
            await go.wait()
            claim = await working.claim_later(*key, **asked)
            landed.set()
            return claim

    async def generate(run: Run[Generate]) -> Record:
        go.set()
        await landed.wait()
        run.delta("Hello")
        return record(run)

    stage = StageSpec(Stage.GENERATE, Generate, 1, generate)
    await house.store.claim_first(KEY, submission="sub-1", digest="d1", question="Who?")
    house.store = cast(Store, Slow())
    _, doomed = await house.worker("late", stage)
    house.store = working
    await gateway.publish(prompt(again=True))
    await asyncio.wait_for(entered.wait(), 20)
    await house.worker("heir", stage)
    await doomed.close()
    result = await records.next(limit_s=60)
    assert isinstance(result, Record)
    assert isinstance(await house.store.close(result), Stored)
    await gateway.close()
