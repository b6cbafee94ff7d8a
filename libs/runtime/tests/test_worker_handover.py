"""Workers that leave, wait or are late: drain, readiness, redelivery meanwhile."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from parley_protocol.control import Stop
from parley_protocol.events import TurnStatus
from parley_protocol.routes import Stage
from parley_protocol.work import Generate, Job, Record
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.settings import CommonSettings
from parley_runtime.stage import Run, StageSpec, record
from parley_runtime.telemetry import names, tracing
from parley_runtime.work.envelope import Courier
from parley_runtime.worker import publish_record
from parley_testkit.house import KEY, Door, House, Script, first_stage, other, prompt, question, scripted

pytestmark = pytest.mark.unit


async def test_a_drain_lets_short_jobs_finish_and_hands_over_the_rest(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    worker = await house.worker(scripted(script, seats=2))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    await worker.drain(0.05)
    assert script.cancelled.is_set()
    assert house.broker.messages("parley.generate") != ()
    assert worker.check() is not None
    heir = Script("Hello ", "world", permits=9)
    await house.worker(scripted(heir), name="w2")
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text) == (2, "Hello world")


async def test_a_drain_waits_for_a_job_that_ends_in_time(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    worker = await house.worker(scripted(script))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    draining = asyncio.create_task(worker.drain(5.0))
    script.allow(2)
    await draining
    assert (await records.next()).fence == 1
    assert house.broker.messages("parley.generate") == ()


async def test_a_worker_is_ready_only_while_it_consumes(house: House) -> None:
    worker = await house.worker(scripted(Script()))
    assert worker.check() is None
    house.broker.stop()
    assert worker.check() is not None


async def test_a_stop_reaches_a_run_that_waits_for_a_seat(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    await house.worker(scripted(script))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    # The broker thinks the channel is gone and delivers another turn beside the running one.
    house.broker.cut("w1")
    await house.gateway.publish(prompt(key=other()))
    house.gateway.control.post("workers", Stop(other()))
    script.allow(2)
    assert (await records.next()).key == KEY


async def test_a_job_redelivered_while_its_record_is_being_published_is_not_run_again(house: House) -> None:
    script = Script("Hello", permits=9)
    await house.claim()
    worker = await house.worker(scripted(script, seats=2))
    house.broker.delete_queue("parley.record")
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello")
    house.broker.cut("w1")
    await house.gateway.publish(prompt(key=other()))
    await house.gateway.until(lambda: house.gateway.text(other()) == "Hello")
    records = await house.tap(Stage.RECORD)
    await records.next(2)
    await worker.drain(5.0)
    assert sorted((job.key.turn, job.fence) for job in records.jobs) == [("t1", 1), ("t2", 1)]
    assert len(script.runs) == 2
    assert (await house.store.rows([KEY]))[0].fence == 1


async def test_a_repeated_job_that_is_back_before_its_confirm_is_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, confirmed = asyncio.Event(), asyncio.Event()
    failures = [EngineError("Busy. Try again.")]

    async def climb(self: Courier, job: Job, rung: int, stage: str, deadline: float, held: Callable[[], bool]) -> bool:
        taken = await self.forward(job, deadline, held)
        published.set()
        await confirmed.wait()
        return taken

    async def handler(run: Run[Generate]) -> Record:
        if failures:
            raise failures.pop()
        run.delta("Hello")
        return record(run)

    monkeypatch.setattr(Courier, "climb", climb)
    await house.claim()
    await house.worker(StageSpec(Stage.GENERATE, Generate, 2, handler))
    records = await house.tap(Stage.RECORD)
    await house.gateway.publish(prompt())
    await published.wait()
    while house.broker.messages("parley.generate"):
        await house.store.ping()
    confirmed.set()
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text) == (2, "Hello")


async def test_a_job_redelivered_while_its_failure_is_being_recorded_waits_for_that(house: House) -> None:
    failing = asyncio.Event()

    async def handler(run: Run[Generate]) -> Record:
        failing.set()
        raise EngineRejected("The engine does not know this model. Choose another.")

    await house.claim()
    worker = await house.worker(StageSpec(Stage.GENERATE, Generate, 2, handler))
    house.broker.delete_queue("parley.record")
    await house.gateway.publish(prompt())
    await failing.wait()
    house.broker.cut("w1")
    failing.clear()
    await house.gateway.publish(prompt(key=other()))
    await failing.wait()
    records = await house.tap(Stage.RECORD)
    await records.next(2)
    await worker.drain(5.0)
    assert sorted((job.key.turn, job.fence) for job in records.jobs) == [("t1", 1), ("t2", 1)]
    assert (await house.store.rows([KEY]))[0].fence == 1


async def test_a_record_of_any_process_is_published_and_confirmed(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    link = await house.broker.process("gw").open("publish")
    forced = Record(key=KEY, submission="s", budget_s=0.0, status=TurnStatus.CANCELLED, text="Hel", forced=True)
    await publish_record(link, forced, timeout_s=1.0)
    assert await records.next() == forced
    house.broker.lose_confirms(1)
    await publish_record(link, forced, timeout_s=0.2)
    assert [job.again for job in records.jobs] == [False, False, True]


async def test_one_trace_leads_through_all_stages(house: House, tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    tracing.setup("worker", "w1", CommonSettings(trace_file=str(file)))
    try:
        records = await house.tap(Stage.RECORD)
        door = Door()
        door.open.set()
        worker = await house.worker(first_stage(door), scripted(Script("Hello", permits=9)))
        with tracing.span(names.SPAN_TURN):
            await house.gateway.publish(question())
        await records.next()
        await worker.drain(5.0)
    finally:
        await tracing.shutdown(1.0)
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    by_name = {span["name"]: span for span in spans}
    assert len({span["trace_id"] for span in spans}) == 1
    parents = {span["span_id"]: span["name"] for span in spans}
    assert parents[by_name["process retrieve"]["parent_id"]] == "turn"
    assert parents[by_name["send generate"]["parent_id"]] == "process retrieve"
    assert parents[by_name["process generate"]["parent_id"]] == "send generate"
    assert by_name["process generate"]["attributes"]["gen_ai.conversation.id"] == "s1"
