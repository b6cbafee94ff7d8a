"""The worker loop on the in-memory broker and a real SQLite store: one delivery and what becomes of it."""

import asyncio

import pytest

from parley_protocol.codec import pack
from parley_protocol.control import Stop
from parley_protocol.events import Delta, Refusal, Status, Terminal, TurnStatus, Usage
from parley_protocol.routes import DEAD_QUEUE, WORK, Stage
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.ports import Message
from parley_runtime.sink import SinkOptions
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.telemetry import metrics, names
from parley_runtime.work.options import WorkerOptions
from parley_testkit.house import KEY, House, other, prompt, question

pytestmark = pytest.mark.unit


async def retrieve(run: Run[Retrieve]) -> Generate:
    run.status("retrieving")
    return following(run, [ChatMessage("user", run.job.question)])


async def generate(run: Run[Generate]) -> Record:
    for word in ("Hello ", "dear ", "world"):
        run.delta(word)
    return record(run, usage=Usage(3, 3))


class Stuck:
    """A handler that says something and then waits until it is let go or cancelled."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.entered = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, run: Run[Generate]) -> Record:
        for word in self.words:
            run.delta(word)
        self.entered.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return record(run)


def failing(error: Exception) -> StageSpec[Generate]:
    async def handler(run: Run[Generate]) -> Record:
        run.delta("partly ")
        raise error

    return StageSpec(Stage.GENERATE, Generate, 2, handler)


RETRIEVE = StageSpec(Stage.RETRIEVE, Retrieve, 1, retrieve, first=True)
GENERATE = StageSpec(Stage.GENERATE, Generate, 1, generate)


async def test_a_question_travels_both_stages_to_its_record(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    await house.worker(RETRIEVE, GENERATE)
    await house.gateway.publish(question())
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.text, result.status, result.base, result.fence) == ("Hello dear world", TurnStatus.COMPLETED, 1, 1)
    assert (result.usage, result.question, result.marks.status) == (Usage(3, 3), "Who?", "retrieving")
    assert [hop.stage for hop in result.hops] == ["retrieve", "generate"]
    assert result.hops[1].first_ms > 0
    assert not result.forced
    await house.gateway.until(lambda: house.gateway.text(KEY) == "Hello dear world")
    assert house.gateway.events(KEY)[0] == Status(0, "retrieving")
    assert [event.n for event in house.gateway.of(KEY, Delta)] == list(range(1, result.n))
    assert {turn.sender for turn in house.gateway.turns(KEY)} == {"w1"}


async def test_a_certainly_first_delivery_of_a_later_stage_claims_nothing(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    await house.worker(GENERATE)
    await house.gateway.publish(prompt())
    assert (await records.next()).fence == 1
    # The store has no row for it: a claim would have dropped the job.
    assert await house.store.rows([KEY]) == []


async def test_a_job_published_again_claims_a_higher_fence_and_begins(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    await house.worker(GENERATE)
    await house.gateway.publish(prompt(again=True))
    assert (await records.next()).fence == 2
    await house.gateway.until(lambda: bool(house.gateway.begins))
    assert (house.gateway.begins[0].key, house.gateway.begins[0].fence) == (KEY, 2)


async def test_a_job_of_another_base_is_dropped(house: House) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    await house.worker(GENERATE)
    dropped = metrics.value(names.JOBS, "generate", "duplicate")
    await house.gateway.publish(prompt(again=True, base=7))
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next()).key == other()
    assert metrics.value(names.JOBS, "generate", "duplicate") == dropped + 1


@pytest.mark.parametrize(("digest", "refused"), [("d1", False), ("other", True)])
async def test_another_submission_of_an_open_turn_never_runs(house: House, digest: str, refused: bool) -> None:
    await house.claim(submission="the-first", digest=digest)
    jobs = await house.tap(Stage.GENERATE)
    await house.worker(RETRIEVE)
    await house.gateway.publish(question())
    await house.gateway.publish(question(key=other()))
    assert (await jobs.next()).key == other()
    if refused:
        await house.gateway.until(lambda: bool(house.gateway.of(KEY, Refusal)))
        refusal = house.gateway.of(KEY, Refusal)[0]
        assert (refusal.submission, refusal.fault.code) == ("sub-1", "conflict")
    else:
        assert house.gateway.events(KEY) == []


async def test_a_closed_row_answers_with_its_terminal(house: House) -> None:
    await house.claim(submission="the-first")
    await house.store.close(
        Record(key=KEY, submission="the-first", budget_s=1, fence=1, status=TurnStatus.COMPLETED, text="Done.", n=4)
    )
    await house.worker(RETRIEVE)
    await house.gateway.publish(question())
    await house.gateway.until(lambda: bool(house.gateway.of(KEY, Terminal)))
    terminal = house.gateway.of(KEY, Terminal)[0]
    assert (terminal.text, terminal.status, terminal.n) == ("Done.", TurnStatus.COMPLETED, 4)


async def test_a_closed_row_with_another_text_is_a_conflict(house: House) -> None:
    await house.claim(submission="the-first", digest="other")
    await house.store.close(
        Record(key=KEY, submission="the-first", budget_s=1, fence=1, status=TurnStatus.COMPLETED, text="Done.")
    )
    await house.worker(RETRIEVE)
    await house.gateway.publish(question())
    await house.gateway.until(lambda: bool(house.gateway.events(KEY)))
    assert [event.fault.code for event in house.gateway.of(KEY, Refusal)] == ["conflict"]
    assert house.gateway.of(KEY, Terminal) == []


async def test_a_job_without_time_left_is_recorded_expired_and_never_run(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    stuck = Stuck()
    await house.worker(StageSpec(Stage.GENERATE, Generate, 1, stuck))
    # Straight to the queue: a message with no budget would be dead-lettered by the broker.
    job = prompt(budget_s=0.0)
    link = await house.broker.process("gw").open("raw")
    await link.publish(WORK, Stage.GENERATE, Message(pack(job)))
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.status, result.forced, result.text) == (TurnStatus.EXPIRED, True, "")  # no row: nobody has spoken
    assert result.fault is not None
    assert result.fault.code == "expired"
    assert not stuck.entered.is_set()


async def test_a_deadline_in_mid_answer_cancels_and_records_the_text_so_far(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    stuck = Stuck("Hello ")
    await house.worker(StageSpec(Stage.GENERATE, Generate, 1, stuck))
    await house.gateway.publish(prompt(budget_s=0.2))
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.status, result.forced, result.text) == (TurnStatus.EXPIRED, True, "Hello ")
    assert stuck.cancelled.is_set()


async def test_a_retryable_error_climbs_the_ladder(house: House) -> None:
    retries = await house.tap("parley.retry.0")
    await house.worker(failing(EngineError("The engine is busy.")))
    await house.gateway.publish(prompt())
    job = await retries.next()
    assert (job.tries, job.again, job.base, job.kb) == (1, True, 1, "default")
    assert house.broker.messages("parley.generate") == ()


@pytest.mark.parametrize("error", [EngineError("The engine is busy."), RuntimeError("secret detail")])
async def test_past_the_ladder_the_turn_fails_and_the_job_is_parked(house: House, error: Exception) -> None:
    records = await house.tap(Stage.RECORD)
    dead = await house.tap(DEAD_QUEUE)
    await house.claim()
    await house.worker(failing(error))
    await house.gateway.publish(prompt(tries=3, again=True))
    result = await records.next()
    assert isinstance(result, Record)
    assert (result.status, result.forced, result.fence) == (TurnStatus.FAILED, False, 2)
    assert result.fault is not None
    assert "secret" not in result.fault.message
    letter = await dead.delivery()
    assert letter.headers["parley-cause"] == f"{result.fault.code}: {result.fault.message}"
    assert (letter.headers["parley-queue"], letter.headers["parley-reason"]) == ("parley.generate", "exhausted")


async def test_a_fatal_error_fails_at_once_with_its_reason(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    await house.worker(failing(EngineRejected("The model does not take images. Send text.")))
    await house.gateway.publish(prompt())
    result = await records.next()
    assert isinstance(result, Record)
    assert result.fault is not None
    assert (result.fault.message, result.text) == ("The model does not take images. Send text.", "partly ")
    assert house.broker.messages(DEAD_QUEUE) == ()


async def test_what_cannot_be_decoded_is_a_dead_letter(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    await house.worker(GENERATE)
    link = await house.broker.process("gw").open("raw")
    await link.publish(WORK, Stage.GENERATE, Message(b"\xc1 not a job"))
    await house.gateway.publish(prompt())
    await records.next()
    assert house.broker.messages(DEAD_QUEUE) == (b"\xc1 not a job",)


async def test_a_stop_cancels_the_handler_frees_the_seat_and_records_nothing(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    stuck = Stuck("Hello ")
    worker = await house.worker(StageSpec(Stage.GENERATE, Generate, 1, stuck))
    measured = metrics.value(names.CANCEL_SECONDS, "generate", suffix="_count")
    await house.gateway.publish(prompt())
    await stuck.entered.wait()
    assert worker.busy == 1
    house.gateway.control.post("workers", Stop(KEY))
    await asyncio.wait_for(stuck.cancelled.wait(), 30)
    stuck.go.set()
    await house.gateway.publish(prompt(key=other()))
    assert (await records.next()).key == other()
    assert len(records.jobs) == 1
    assert metrics.value(names.CANCEL_SECONDS, "generate", suffix="_count") == measured + 1


async def test_a_stop_for_a_higher_fence_leaves_the_successor_alone(house: House) -> None:
    records = await house.tap(Stage.RECORD)
    stuck = Stuck()
    await house.worker(StageSpec(Stage.GENERATE, Generate, 1, stuck))
    await house.gateway.publish(prompt(fence=3))
    await stuck.entered.wait()
    assert await house.gateway.control.send("w1", Stop(KEY, 3))
    stuck.go.set()
    assert (await records.next()).fence == 3


async def test_an_unknown_publish_outcome_is_published_again_marked(house: House) -> None:
    jobs = await house.tap(Stage.GENERATE)
    entered, go = asyncio.Event(), asyncio.Event()

    async def slow(run: Run[Retrieve]) -> Generate:
        entered.set()
        await go.wait()
        return await retrieve(run)

    stage = StageSpec(Stage.RETRIEVE, Retrieve, 1, slow, first=True)
    await house.worker(stage, options=WorkerOptions(publish_s=0.1, sink=SinkOptions(confirm_s=0.1)))
    await house.gateway.publish(question(reply_to=()))
    await entered.wait()
    house.broker.lose_confirms(1)
    go.set()
    await jobs.next(2)
    assert [job.again for job in jobs.jobs] == [False, True]
    assert [job.fence for job in jobs.jobs] == [1, 1]


async def test_a_missing_next_queue_is_waited_out(house: House) -> None:
    house.broker.delete_queue("parley.generate")
    await house.worker(RETRIEVE)
    await house.gateway.publish(question())
    jobs = await house.tap(Stage.GENERATE)
    assert (await jobs.next()).fence == 1
