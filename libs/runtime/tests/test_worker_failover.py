"""Runs that take over from another run: prefixes, zombies, followers, drain."""

import asyncio
import json
from pathlib import Path
from typing import cast

import pytest

from parley_protocol.control import Alive, Attach, Audience, Begin, Leave, Running, Stop
from parley_protocol.events import Delta, Snapshot, Status, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage
from parley_protocol.work import Generate, Record, Retrieve
from parley_runtime.control import ControlPlane
from parley_runtime.errors import EngineRejected, Unavailable
from parley_runtime.settings import CommonSettings
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.store.ports import LaterClaim, Store, Stored, TurnStore
from parley_runtime.telemetry import metrics, names, tracing
from parley_runtime.work.options import WorkerOptions
from parley_runtime.worker import publish_record
from parley_testkit.house import KEY, House, other, prompt, question

pytestmark = pytest.mark.unit


class Script:
    """Says ``words``, one for each permit, then records. ``prefixes`` keeps what each run was given."""

    def __init__(self, *words: str, resumes: bool = False, permits: int = 0) -> None:
        self.words = words
        self.resumes = resumes
        self.permits = asyncio.Semaphore(permits)
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.prefixes: list[str] = []
        self.runs: list[Run[Generate]] = []

    async def __call__(self, run: Run[Generate]) -> Record:
        self.prefixes.append(run.prefix)
        self.runs.append(run)
        words = self.words
        if self.resumes and run.prefix:
            run.resume(run.prefix)
        self.entered.set()
        try:
            for word in words:
                await self.permits.acquire()
                run.delta(word)
            await self.permits.acquire()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return record(run)

    def allow(self, count: int = 1) -> None:
        for _ in range(count):
            self.permits.release()


def stage(script: Script, seats: int = 1) -> StageSpec[Generate]:
    return StageSpec(Stage.GENERATE, Generate, seats, script)


async def test_a_killed_worker_is_followed_by_one_that_continues_its_text(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    dying, heir = Script("Hello ", "dear "), Script("you", resumes=True, permits=9)
    await house.worker(stage(dying), name="w1")
    dying.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    house.gateway.prefixes[KEY] = "Hello "
    await house.worker(stage(heir), name="w2")
    house.broker.kill("w1")
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text) == (2, "Hello you")
    assert heir.prefixes == ["Hello "]
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello you")
    second = house.gateway.events(KEY, fence=2)
    assert isinstance(second[0], Snapshot)
    assert all(snapshot.text in {None, "Hello ", "Hello you"} for snapshot in house.gateway.of(KEY, Snapshot))


async def test_a_replaying_heir_sends_nothing_before_it_outgrows_the_prefix(house: House) -> None:
    await house.claim()
    house.gateway.prefixes[KEY] = "Hello dear "
    script = Script("Hello ", "dear ", "you")
    await house.worker(stage(script))
    await house.gateway.publish(prompt(again=True))
    await script.entered.wait()
    await house.gateway.until(lambda: bool(house.gateway.of(KEY, Snapshot)))
    script.allow(1)
    probe = script.runs[0]
    probe.status("generating")
    await house.gateway.until(lambda: bool(house.gateway.of(KEY, Status)))
    assert [event for event in house.gateway.events(KEY) if isinstance(event, Delta)] == []
    assert {snapshot.text for snapshot in house.gateway.of(KEY, Snapshot)} == {None}
    script.allow(3)
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello dear you")


async def test_an_heir_that_says_something_else_sends_its_text_as_a_snapshot(house: House) -> None:
    await house.claim()
    house.gateway.prefixes[KEY] = "Hello dear "
    records = await house.tap(Stage.RECORD)
    await house.worker(stage(Script("Good day", permits=9)))
    await house.gateway.publish(prompt(again=True))
    result = await records.next()
    assert isinstance(result, Record)
    assert result.text == "Good day"
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Good day")
    assert "Good day" in {snapshot.text for snapshot in house.gateway.of(KEY, Snapshot)}


async def test_the_longest_prefix_wins_and_every_gateway_that_answers_follows(house: House) -> None:
    await house.claim()
    second = await house.another_gateway("gw2")
    house.gateway.prefixes[KEY], second.prefixes[KEY] = "He", "Hello"
    records = await house.tap(Stage.RECORD)
    script = Script(permits=9)
    await house.worker(stage(script), options=WorkerOptions(begin_more_s=0.1))
    await house.gateway.publish(prompt(again=True))
    result = await records.next()
    assert script.prefixes == ["Hello"]
    assert set(result.reply_to) == {"gw", "gw2"}


async def test_the_process_that_still_runs_the_job_keeps_its_engine(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    await house.worker(stage(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    house.broker.cut("w1")
    await house.gateway.until(lambda: bool(house.gateway.begins))
    await house.gateway.until(lambda: bool(house.gateway.events(KEY, fence=2)))
    first = house.gateway.events(KEY, fence=2)[0]
    assert isinstance(first, Snapshot)
    assert first.text == "Hello "
    script.allow(2)
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text) == (2, "Hello world")
    assert len(script.runs) == 1
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello world")
    # Its second delivery was acked: with one seat, another turn is taken.
    script.allow(3)
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next(2)).key == other()


async def test_a_begin_with_a_higher_fence_ends_the_lower_run(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    await house.worker(stage(script))
    wasted = metrics.value(names.WASTED, "generate")
    await house.gateway.publish(prompt())
    await script.entered.wait()
    house.gateway.control.post("workers", Begin(KEY, 2, "w9"))
    await asyncio.wait_for(script.cancelled.wait(), 5)
    assert metrics.value(names.WASTED, "generate") == wasted + 1
    script.allow(2)
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next()).key == other()
    assert len(records.jobs) == 1


class Door:
    """A first stage that can be held up."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, run: Run[Retrieve]) -> Generate:
        self.entered.set()
        await self.open.wait()
        return following(run, [])


def first_stage(door: Door) -> StageSpec[Retrieve]:
    return StageSpec(Stage.RETRIEVE, Retrieve, 1, door, first=True)


async def redeliver_the_first_stage(house: House) -> None:
    """A worker took the question and died; another one takes it, and then a second question."""
    dying, heir = Door(), Door()
    await house.worker(first_stage(dying), name="w1")
    await house.gateway.publish(question())
    await dying.entered.wait()
    heir.open.set()
    await house.worker(first_stage(heir), name="w2")
    house.broker.kill("w1")
    await house.gateway.publish(question(key=other()))


async def test_a_redelivered_first_stage_leaves_a_live_descendant_alone(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    elsewhere = await ControlPlane.open(house.broker.process("w8"), process_id="w8", audience=Audience.WORKERS)
    elsewhere.on(Running, lambda asks: elsewhere.post(asks.worker, Alive(asks.key, asks.base, "w8")))
    await elsewhere.start()
    await redeliver_the_first_stage(house)
    assert (await jobs.next()).key == other()
    assert (await house.store.rows([KEY]))[0].fence == 1
    await elsewhere.aclose()


async def test_a_redelivered_first_stage_without_a_descendant_runs_again(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    await redeliver_the_first_stage(house)
    job = await jobs.next()
    assert (job.key, job.base, job.fence) == (KEY, 2, 2)


async def test_only_later_stages_say_that_they_run_a_turn(house: House) -> None:
    alive: list[Alive] = []
    asking = house.gateway.control

    def heard(answer: Alive) -> None:
        alive.append(answer)
        house.gateway.changed()

    asking.on(Alive, heard)
    door, script = Door(), Script()
    await house.worker(first_stage(door), stage(script))
    await house.gateway.publish(question())
    await house.gateway.publish(prompt(key=other(), base=5))
    await door.entered.wait()
    await script.entered.wait()
    asking.post("workers", Running(KEY, 1, "gw"))
    asking.post("workers", Running(other(), 4, "gw"))
    asking.post("workers", Running(other(), 5, "gw"))
    await house.gateway.until(lambda: bool(alive))
    assert alive == [Alive(other(), 5, "w1")]


async def test_an_attached_gateway_gets_a_snapshot_and_what_follows_it(house: House) -> None:
    second = await house.another_gateway("gw2")
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "dear ", "world")
    await house.worker(stage(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    second.control.post("workers", Attach("gw2", (KEY, other("unknown"))))
    await second.until(lambda: bool(second.events(KEY)))
    assert second.events(KEY) == [Snapshot(1, second.of(KEY, Snapshot)[0].marks, "Hello ")]
    script.allow(3)
    result = await records.next()
    assert result.reply_to == ("gw", "gw2")
    await second.until(lambda: second.text(KEY) == "Hello dear world")
    assert house.gateway.of(KEY, Snapshot) == []
    assert [event.n for event in second.of(KEY, Delta)] == list(range(1, result.n))


async def test_a_finished_run_answers_an_attach_with_an_ending_snapshot(house: House) -> None:
    second = await house.another_gateway("gw2")
    records = await house.tap(Stage.RECORD)
    await house.worker(stage(Script("Hello", permits=9)))
    await house.gateway.publish(prompt())
    await records.next()
    attach = Attach("gw2", (KEY,))
    async with asyncio.timeout(5):
        # The watch of a gateway repeats, too: the record may be seen before the run knows that it was confirmed.
        while not any(snapshot.ending for snapshot in second.of(KEY, Snapshot)):
            await second.control.broadcast(Audience.WORKERS, attach)
    assert second.of(KEY, Snapshot)[-1].text == "Hello"


async def test_leaving_detaches_and_generation_goes_on(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    await house.worker(stage(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    assert await house.gateway.control.send("w1", Leave(KEY, "gw"))
    script.allow(2)
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.text, result.reply_to) == ("Hello world", ())
    assert house.gateway.text(KEY) == "Hello "


async def test_a_drain_lets_short_jobs_finish_and_hands_over_the_rest(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    worker = await house.worker(stage(script, seats=2))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    await worker.drain(0.05)
    assert script.cancelled.is_set()
    assert house.broker.messages("parley.generate") != ()
    assert worker.check() is not None
    heir = Script("Hello ", "world", permits=9)
    await house.worker(stage(heir), name="w2")
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text) == (2, "Hello world")


async def test_a_drain_waits_for_a_job_that_ends_in_time(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    worker = await house.worker(stage(script))
    await house.gateway.publish(prompt())
    await script.entered.wait()
    draining = asyncio.create_task(worker.drain(5.0))
    script.allow(2)
    await draining
    assert (await records.next()).fence == 1
    assert house.broker.messages("parley.generate") == ()


async def test_a_worker_is_ready_only_while_it_consumes(house: House) -> None:
    worker = await house.worker(stage(Script()))
    assert worker.check() is None
    house.broker.stop()
    assert worker.check() is not None


async def test_a_stop_reaches_a_run_that_waits_for_a_seat(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    await house.worker(stage(script))
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
    worker = await house.worker(stage(script, seats=2))
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


class DownStore:
    """A store that cannot be reached."""

    def __init__(self, store: TurnStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        raise Unavailable("The store cannot be reached.")


async def test_without_a_store_a_question_goes_to_the_ladder_with_the_delay_off_its_budget(house: House) -> None:
    retries = await house.tap("parley.retry.0")
    door = Door()
    working = house.store
    house.store = cast(Store, DownStore(working))
    await house.worker(first_stage(door))
    house.store = working
    await house.gateway.publish(question(budget_s=20.0))
    job = await retries.next()
    assert (job.tries, job.again, job.base, job.key) == (1, True, 0, KEY)
    assert 18.0 < job.budget_s <= 19.0
    assert not door.entered.is_set()


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
        worker = await house.worker(first_stage(door), stage(Script("Hello", permits=9)))
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


class SlowStore:
    """A store whose claims wait for the test."""

    def __init__(self, store: TurnStore) -> None:
        self._store = store
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def claim_later(self, key: TurnKey, *, base: int) -> LaterClaim:
        self.entered.set()
        await self.go.wait()
        return await self._store.claim_later(key, base=base)


async def test_a_fence_claimed_for_a_lost_delivery_gets_a_message_of_its_own(house: House) -> None:
    await house.claim()
    slow = SlowStore(house.store)
    working, house.store = house.store, cast(Store, slow)
    records = await house.tap(Stage.RECORD)
    await house.worker(stage(Script("Hello", permits=99), seats=2))
    handed = metrics.value(names.JOBS, "generate", "handed_over")
    await house.gateway.publish(prompt(again=True))
    await slow.entered.wait()
    house.broker.cut("w1")
    slow.go.set()
    while not isinstance(await working.close(cast(Record, await records.next(len(records.jobs) + 1))), Stored):
        pass
    assert metrics.value(names.JOBS, "generate", "handed_over") == handed + 1
