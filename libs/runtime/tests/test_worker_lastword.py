"""The record of a turn that ends without a run that speaks for it: it holds what the gateways have delivered."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from parley_protocol.codec import pack
from parley_protocol.control import Begin
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import WORK, Stage
from parley_protocol.work import Generate, Job, Record
from parley_runtime.errors import EngineRejected, Unavailable
from parley_runtime.ports import Message
from parley_runtime.stage import Run, StageSpec
from parley_runtime.store.ports import Stored, Superseded
from parley_runtime.work.lastword import LastWord
from parley_runtime.work.options import WorkerOptions
from parley_testkit.house import KEY, Door, House, Script, first_stage, prompt, question, scripted

pytestmark = pytest.mark.unit

BRIEF = WorkerOptions(end_wait_s=0.3)


async def raw(house: House, job: Job) -> None:
    """Straight to the queue: a message with no budget would be dead-lettered by the broker."""
    link = await house.broker.process("gw").open("raw")
    await link.publish(WORK, Stage.GENERATE, Message(pack(job)))


async def test_a_redelivered_job_whose_time_is_over_is_recorded_with_what_was_delivered(house: House) -> None:
    await house.claim()
    await house.store.claim_later(KEY, base=1)
    await house.store.claim_later(KEY, base=1)
    house.gateway.prefixes[KEY] = "Hello "
    records = await house.tap(Stage.RECORD)
    script = Script("never")
    await house.worker(scripted(script))
    await raw(house, prompt(budget_s=0.0, again=True))
    record = await records.next()
    assert isinstance(record, Record)
    assert (record.status, record.forced, record.text) == (TurnStatus.EXPIRED, True, "Hello ")
    assert [begin.fence for begin in house.gateway.begins] == [3]  # the row's: a gateway would not answer a lower one
    assert script.runs == []
    closing = await house.store.close(record)
    assert isinstance(closing, Stored)
    assert closing.row.text == "Hello "


async def test_a_submission_whose_time_is_over_does_not_end_the_one_at_work(house: House) -> None:
    await house.claim("sub-2")
    records = await house.tap(Stage.RECORD)
    await house.worker(scripted(Script("never")), first_stage(Door()))
    link = await house.broker.process("gw").open("raw")
    await link.publish(WORK, Stage.RETRIEVE, Message(pack(question(budget_s=0.0))))
    record = await records.next()
    assert isinstance(record, Record)
    assert (record.submission, record.status, record.forced) == ("sub-1", TurnStatus.EXPIRED, True)
    assert await house.store.close(record) == Superseded()
    [row] = await house.store.rows([KEY])
    assert (row.status, row.submission) == (TurnStatus.OPEN, "sub-2")


async def test_gateways_that_come_back_in_time_are_asked_once_more(house: House) -> None:
    """The broker has come back, this worker before the gateways."""
    await house.claim()
    records = await house.tap(Stage.RECORD)
    await house.worker(scripted(Script("never")))
    await raw(house, prompt(budget_s=0.0, again=True))
    await house.gateway.until(lambda: len(house.gateway.begins) > 1)
    house.gateway.prefixes[KEY] = "Hello "
    record = await records.next()
    assert isinstance(record, Record)
    assert record.text == "Hello "


async def test_a_gateway_that_does_not_know_the_text_is_no_answer(house: House) -> None:
    await house.claim()
    second = await house.another_gateway("gw2")
    house.gateway.prefixes[KEY] = None
    records = await house.tap(Stage.RECORD)
    await house.worker(scripted(Script("never")))
    await raw(house, prompt(budget_s=0.0, again=True))
    await second.until(lambda: len(second.begins) > 1)
    second.prefixes[KEY] = "Hello "
    record = await records.next()
    assert isinstance(record, Record)
    assert record.text == "Hello "


@pytest.mark.parametrize("options", [BRIEF, WorkerOptions(end_wait_s=0)])
async def test_where_nobody_answers_nothing_is_said_of_the_text(house: House, options: WorkerOptions) -> None:
    await house.claim()
    records = await house.tap(Stage.RECORD)
    await house.worker(scripted(Script("never")), options=options)
    await raw(house, prompt(budget_s=0.0, again=True))
    record = await records.next()
    assert isinstance(record, Record)
    assert (record.status, record.text) == (TurnStatus.EXPIRED, None)
    assert bool(house.gateway.begins) is bool(options.end_wait_s)


async def test_a_run_without_a_seat_expires_with_what_was_delivered_before_it(house: House) -> None:
    await house.claim()
    house.gateway.prefixes[KEY] = "Hello "
    records = await house.tap(Stage.RECORD)
    first = Script("first")
    spec = scripted(first)
    await house.worker(spec)
    await house.gateway.publish(prompt(key=TurnKey("acme", "s1", "before")))
    await first.entered.wait()
    await house.gateway.publish(prompt(again=True, budget_s=0.2))
    await house.worker(scripted(Script("never")), name="not used", options=BRIEF)
    record = await records.next()
    assert isinstance(record, Record)
    assert (record.key, record.status, record.text) == (KEY, TurnStatus.EXPIRED, "Hello ")


async def test_a_run_that_speaks_asks_nobody_for_its_end(house: House) -> None:
    records = await house.tap(Stage.RECORD)

    async def refuses(run: Run[Generate]) -> Record:
        run.delta("Hello ")
        raise EngineRejected("no")

    await house.worker(StageSpec(Stage.GENERATE, Generate, 1, refuses))
    await house.gateway.publish(prompt())
    record = await records.next()
    assert isinstance(record, Record)
    assert (record.status, record.text, house.gateway.begins) == (TurnStatus.FAILED, "Hello ", [])


class Scene:
    """A store and gateways as the last word sees them."""

    def __init__(self, *answers: str | None, rows: Callable[[], list[Any]] = list) -> None:
        self._answers = list(answers)
        self._rows = rows
        self.asked: list[int] = []

    async def begin(self, _key: TurnKey, fence: int) -> str | None:
        self.asked.append(fence)
        return self._answers.pop(0) if self._answers else None

    async def rows(self, _keys: Any) -> list[Any]:
        return self._rows()


def away() -> list[Any]:
    raise Unavailable("the store is away")


async def test_without_a_row_nobody_has_spoken_and_nobody_is_asked() -> None:
    scene = Scene("never asked for")
    assert await LastWord(scene, scene, 5.0)(KEY, 4) == ""  # type: ignore[arg-type]  # as much as it uses
    assert scene.asked == []


async def test_without_a_store_the_callers_fence_serves() -> None:
    scene = Scene(None, "", rows=away)
    assert await LastWord(scene, scene, 5.0)(KEY, 4) == ""  # type: ignore[arg-type]  # as much as it uses
    assert scene.asked == [4, 4]


async def test_a_closed_row_has_the_last_word(house: House) -> None:
    """The gateway's own record came while nobody answered."""
    await house.claim()
    ended = Record(key=KEY, submission="s", budget_s=0.0, status=TurnStatus.EXPIRED, text="Hello ", forced=True)
    patient = WorkerOptions(end_wait_s=60.0)
    word = asyncio.ensure_future((await house.worker(scripted(Script()), options=patient)).delivered(KEY, 1))
    await house.gateway.until(lambda: bool(house.gateway.begins))
    assert isinstance(await house.store.close(ended), Stored)
    assert await asyncio.wait_for(word, 30) == "Hello "


async def test_two_who_ask_the_same_hear_the_same(house: House) -> None:
    await house.claim()
    worker = await house.worker(scripted(Script()))
    words = [asyncio.ensure_future(worker.delivered(KEY, 1)) for _ in range(2)]
    await house.gateway.until(lambda: len(house.gateway.begins) > 1)
    house.gateway.prefixes[KEY] = "Hello "
    assert await asyncio.gather(*words) == ["Hello ", "Hello "]
    assert {type(begin) for begin in house.gateway.begins} == {Begin}
