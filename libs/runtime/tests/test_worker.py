"""The worker loop on the in-memory broker and a real SQLite store."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from parley_protocol.control import Audience
from parley_protocol.events import Status, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage, topology
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.control import ControlPlane
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.worker import Worker, WorkerOptions, open_worker
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import FakeGateway, JobTap

pytestmark = pytest.mark.unit

KEY = TurnKey("default", "s1", "t1")


async def retrieve(run: Run[Retrieve]) -> Generate:
    run.status("retrieving")
    return following(run, [ChatMessage("user", run.job.question)])


async def generate(run: Run[Generate]) -> Record:
    for word in ("Hello ", "dear ", "world"):
        run.delta(word)
    return record(run, usage=Usage(3, 3))


RETRIEVE = StageSpec(Stage.RETRIEVE, Retrieve, 4, retrieve, first=True)
GENERATE = StageSpec(Stage.GENERATE, Generate, 2, generate)


def question(**changes: Any) -> Retrieve:
    values: dict[str, Any] = {
        "key": KEY,
        "submission": "sub-1",
        "digest": "d1",
        "budget_s": 30.0,
        "reply_to": ("gw",),
        "question": "Who?",
    }
    return Retrieve(**(values | changes))


class House:
    """A broker, a store, a gateway and taps; workers are added by each test."""

    def __init__(self, stack: AsyncExitStack, broker: MemoryBroker, store: Store, gateway: FakeGateway) -> None:
        self.stack = stack
        self.broker = broker
        self.store = store
        self.gateway = gateway

    async def worker(self, *stages: StageSpec[Any], name: str = "w1", options: WorkerOptions | None = None) -> Worker:
        process = self.broker.process(name)
        control = await ControlPlane.open(process, process_id=name, audience=Audience.WORKERS)
        self.stack.push_async_callback(control.aclose)
        return await self.stack.enter_async_context(
            open_worker(stages, broker=process, store=self.store, control=control, options=options)
        )

    async def tap(self, stage: Stage) -> JobTap:
        return await JobTap.open(self.broker.process("tap"), stage)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = MemoryBroker(topology())
        stack.push_async_callback(broker.close)
        store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/parley.db")
        stack.push_async_callback(store.aclose)
        gateway = await FakeGateway.open(broker.process("gw"), "gw")
        stack.push_async_callback(gateway.close)
        yield House(stack, broker, store, gateway)


async def test_a_question_travels_both_stages_to_its_record(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    await house.worker(RETRIEVE, GENERATE)
    await house.gateway.publish(question())
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.text, result.status, result.base, result.fence) == ("Hello dear world", TurnStatus.COMPLETED, 1, 1)
    assert (result.usage, result.question, result.marks.status) == (Usage(3, 3), "Who?", "retrieving")
    assert [hop.stage for hop in result.hops] == ["retrieve", "generate"]
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello dear world")
    events = house.gateway.events(KEY)
    assert events[0] == Status(0, "retrieving")
    deltas = house.gateway.of(KEY, Delta)
    assert [event.n for event in deltas] == list(range(1, result.n))
    assert house.broker.messages("parley.retrieve") == ()
