"""Runs that take over from another run: prefixes, zombies, followers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from parley_protocol.control import Alive, Attach, Audience, Begin, Leave, Running, Stop
from parley_protocol.events import Delta, Snapshot, Status, Terminal, TurnStatus
from parley_protocol.routes import RETRY_LADDER_S, Stage, retry_exchange
from parley_protocol.work import Record
from parley_runtime.control import ControlPlane
from parley_runtime.telemetry import metrics, names
from parley_runtime.work.options import WorkerOptions
from parley_testkit.house import KEY, Door, House, Script, first_stage, other, prompt, question, scripted

pytestmark = pytest.mark.unit


async def test_a_killed_worker_is_followed_by_one_that_continues_its_text(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    dying, heir = Script("Hello ", "dear "), Script("you", resumes=True, permits=9)
    await house.worker(scripted(dying), name="w1")
    dying.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    house.gateway.prefixes[KEY] = "Hello "
    await house.worker(scripted(heir), name="w2")
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
    await house.worker(scripted(script))
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
    await house.worker(scripted(Script("Good day", permits=9)))
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
    await house.worker(scripted(script), options=WorkerOptions(begin_more_s=0.1))
    await house.gateway.publish(prompt(again=True))
    result = await records.next()
    assert script.prefixes == ["Hello"]
    assert set(result.reply_to) == {"gw", "gw2"}


async def test_the_process_that_still_runs_the_job_keeps_its_engine(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    await house.worker(scripted(script))
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
    await house.worker(scripted(script))
    wasted = metrics.value(names.WASTED, "generate", "superseded")
    await house.gateway.publish(prompt())
    await script.entered.wait()
    house.gateway.control.post("workers", Begin(KEY, 2, "w9"))
    await asyncio.wait_for(script.cancelled.wait(), 30)
    assert metrics.value(names.WASTED, "generate", "superseded") == wasted + 1
    script.allow(2)
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next()).key == other()
    assert len(records.jobs) == 1


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


@asynccontextmanager
async def run_elsewhere(house: House) -> AsyncIterator[None]:
    """Another process runs every turn."""
    elsewhere = await ControlPlane.open(house.broker.process("w8"), process_id="w8", audience=Audience.WORKERS)
    elsewhere.on(Running, lambda asks: elsewhere.post(asks.worker, Alive(asks.key, asks.base, "w8")))
    await elsewhere.start()
    yield
    await elsewhere.aclose()


async def test_a_redelivered_first_stage_leaves_a_live_descendant_alone_while_it_lives(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    waiting = metrics.value(names.JOBS, "retrieve", "waiting")
    async with run_elsewhere(house):
        await redeliver_the_first_stage(house)
        assert (await jobs.next()).key == other()
        async with asyncio.timeout(30):
            while metrics.value(names.JOBS, "retrieve", "waiting") == waiting:
                await house.store.ping()
        assert (await house.store.rows([KEY]))[0].fence == 1
    # Its worker is gone, and its job with it: the first stage looks again, and runs the turn itself.
    job = await jobs.next(2)
    assert (job.key, job.base, job.fence) == (KEY, 2, 2)


async def test_a_first_stage_that_waits_for_another_run_uses_up_no_try(house: House) -> None:
    await house.claim()
    rung = await house.tap(retry_exchange(0))
    door = Door()
    door.open.set()
    await house.worker(first_stage(door))
    async with run_elsewhere(house):
        await house.gateway.publish(question(again=True, tries=2))
        job = await rung.next()
    assert (job.key, job.submission, job.again, job.tries) == (KEY, "sub-1", True, 2)
    assert 30.0 - 2 * RETRY_LADDER_S[0] < job.budget_s <= 30.0 - RETRY_LADDER_S[0]
    assert not door.entered.is_set()


async def test_a_first_stage_that_waited_tells_the_end_of_the_turn(house: House) -> None:
    await house.claim()
    await house.worker(first_stage(Door()))
    closing = Record(
        key=KEY, submission="sub-1", base=1, fence=1, budget_s=1, n=1, text="Done.", status=TurnStatus.COMPLETED
    )
    waiting = metrics.value(names.JOBS, "retrieve", "waiting")
    async with run_elsewhere(house):
        await house.gateway.publish(question(again=True))
        async with asyncio.timeout(30):
            while metrics.value(names.JOBS, "retrieve", "waiting") == waiting:
                await house.store.ping()
        await house.store.close(closing)
        await house.gateway.until(lambda: bool(house.gateway.of(KEY, Terminal)))
    assert house.gateway.of(KEY, Terminal)[0].text == "Done."


async def test_a_first_stage_whose_time_is_over_leaves_the_turn_to_its_run(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    jobs = await house.tap(Stage.GENERATE)
    door = Door()
    door.open.set()
    await house.worker(first_stage(door))
    async with run_elsewhere(house):
        await house.gateway.publish(question(again=True, budget_s=RETRY_LADDER_S[0] / 2))
        await house.gateway.publish(question(key=other()))
        assert (await jobs.next()).key == other()
    assert records.jobs == []
    assert (await house.store.rows([KEY]))[0].fence == 1


async def test_a_redelivered_first_stage_without_a_descendant_runs_again(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    await redeliver_the_first_stage(house)
    job = await jobs.next()
    assert (job.key, job.base, job.fence) == (KEY, 2, 2)


async def test_the_job_of_a_repeated_first_stage_continues_what_the_first_ones_job_had_said(house: House) -> None:
    """It is a first delivery, certainly, and yet not the turn's first run."""
    await house.claim()
    await house.store.claim_first(KEY, submission="sub-1", digest="d1", question="Who?")
    house.gateway.prefixes[KEY] = "Hello "
    records = await house.tap(Stage.RECORD)
    heir = Script("you", resumes=True, permits=9)
    await house.worker(scripted(heir))
    await house.gateway.publish(prompt(base=2, fence=2))
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.fence, result.text, heir.prefixes) == (2, "Hello you", ["Hello "])


async def test_a_job_whose_own_process_has_just_answered_it_is_put_off_too(house: House) -> None:
    """Its confirm was on the way as the broker delivered the job again."""
    await house.claim()
    records, rung = await house.tap(Stage.RECORD), await house.tap(retry_exchange(0))
    script = Script("Hello", permits=1)
    await house.worker(scripted(script), options=WorkerOptions(publish_s=0.5))
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello")
    house.broker.lose_confirms(1)
    script.allow()
    await records.next()
    house.broker.cut("w1")
    job = await rung.next()
    assert (job.key, job.base, job.again, job.tries) == (KEY, 1, True, 0)
    assert len(script.runs) == 1
    assert (await house.store.rows([KEY]))[0].fence == 1


async def test_only_later_stages_say_that_they_run_a_turn(house: House) -> None:
    alive: list[Alive] = []
    asking = house.gateway.control

    def heard(answer: Alive) -> None:
        alive.append(answer)
        house.gateway.changed()

    asking.on(Alive, heard)
    door, script = Door(), Script()
    await house.worker(first_stage(door), scripted(script))
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
    await house.worker(scripted(script))
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


async def test_a_run_that_takes_over_says_nothing_before_its_begin(house: House) -> None:
    """Not to a gateway that attaches while it waits for a seat, either."""
    await house.claim()
    second = await house.another_gateway("gw2")
    records = await house.tap(Stage.RECORD)
    script = Script("Hello")
    await house.worker(scripted(script))
    await house.gateway.publish(prompt(key=other()))
    await script.entered.wait()
    # The broker thinks the channel is gone and delivers another turn beside the running one.
    house.broker.cut("w1")
    await house.gateway.publish(prompt(again=True))
    while not (await house.store.rows([KEY]))[0].fence > 1:
        await house.store.ping()
    attach = Attach("gw2", (KEY, other()))
    async with asyncio.timeout(30):
        while not second.events(other()):
            await second.control.broadcast(Audience.WORKERS, attach)
    assert second.events(KEY) == []
    assert [begin.key for begin in house.gateway.begins if begin.key == KEY] == []
    script.allow(9)
    await records.next(2)
    await second.until(lambda: second.text(KEY) == "Hello")
    assert KEY in {begin.key for begin in second.begins}


async def test_a_finished_run_answers_an_attach_with_an_ending_snapshot(house: House) -> None:
    second = await house.another_gateway("gw2")
    records = await house.tap(Stage.RECORD)
    await house.worker(scripted(Script("Hello", permits=9)))
    await house.gateway.publish(prompt())
    await records.next()
    attach = Attach("gw2", (KEY,))
    async with asyncio.timeout(30):
        # The watch of a gateway repeats, too: the record may be seen before the run knows that it was confirmed.
        while not any(snapshot.ending for snapshot in second.of(KEY, Snapshot)):
            await second.control.broadcast(Audience.WORKERS, attach)
    assert second.of(KEY, Snapshot)[-1].text == "Hello"


async def test_leaving_detaches_and_generation_goes_on(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    script = Script("Hello ", "world")
    await house.worker(scripted(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    assert await house.gateway.control.send("w1", Leave(KEY, "gw"))
    script.allow(2)
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.text, result.reply_to) == ("Hello world", ())
    assert house.gateway.text(KEY) == "Hello "


async def test_a_stop_sends_every_other_gateway_to_the_row(house: House) -> None:
    second = await house.another_gateway("gw2")
    script = Script("Hello ", "world")
    await house.worker(scripted(script))
    script.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    async with asyncio.timeout(30):
        while not second.events(KEY):
            await second.control.broadcast(Audience.WORKERS, Attach("gw2", (KEY,)))
    assert not second.of(KEY, Snapshot)[-1].ending
    assert await house.gateway.control.send("w1", Stop(KEY))
    await second.until(lambda: second.of(KEY, Snapshot)[-1].ending)
    assert (second.of(KEY, Snapshot)[-1].text, second.text(KEY)) == ("Hello ", "Hello ")


async def test_a_stop_has_nothing_to_say_to_the_only_gateway(house: House) -> None:
    stuck = Script("Hello ", "world")
    await house.worker(scripted(stuck))
    stuck.allow()
    await house.gateway.publish(prompt())
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello ")
    assert await house.gateway.control.send("w1", Stop(KEY))
    records = await house.tap(Stage.RECORD)
    stuck.allow(9)
    await house.gateway.publish(prompt(key=other()))
    await records.next()
    assert house.gateway.of(KEY, Snapshot) == []
