"""Reviews from upload to result: the two consumers on the in-memory broker and a real store, faults included."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from parley_protocol.reviews import AssessClauses, ReadReview, ReviewStatus, Risk, Verdict
from parley_protocol.routes import DEAD_QUEUE, WORK, Stage, topology
from parley_rag.parker import Parker
from parley_rag.review.post import message
from parley_rag.review.registry import ReviewSettings
from parley_runtime.errors import EngineError, Unavailable
from parley_runtime.ports import Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import value
from parley_testkit.turns import JobTap

from .review_bench import Bench, Scripted, forever, opened, verdict

pytestmark = pytest.mark.unit

CONTRACT = (
    "采购合同\n甲方（买方）：北方水务公司\n乙方（卖方）：南方水泵厂\n\n"
    "第一条 标的\n甲方向乙方采购水泵二十台。\n"
    "第二条 付款\n合同签订后三日内，甲方应一次性支付全部货款。\n"
    "第三条 责任\n因货物质量问题造成的间接损失，乙方概不负责。\n"
    "第四条 解除\n甲方可以无需理由提前七日通知终止本合同。\n"
    "第五条 管辖\n争议提交乙方所在地人民法院诉讼解决。\n"
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await opened(tmp_path, stack)


def many(count: int) -> str:
    return "\n".join(f"第{number}条 双方应当遵守本条约定的义务{number}。" for number in range(1, count + 1))


async def test_a_contract_is_reviewed_for_each_side(bench: Bench) -> None:
    await bench.process()
    await bench.playbook()
    found = {}
    for role in ("buyer", "卖方"):
        task = await bench.upload(CONTRACT, role=role)
        row = await bench.ended(task)
        assert (row.status, row.done, row.error) == (ReviewStatus.COMPLETED, row.clauses, "")
        findings = await bench.store.reviews.findings("default", task)
        for one in findings:
            assert CONTRACT[one.start : one.end] == one.clause
            assert one.rule is not None
            assert one.rule.document == "sample/playbook/zh/买卖合同审查规则.md"
            assert one.reason
        found[role] = {(one.clause[:3], one.rule.title, one.risk.value) for one in findings if one.rule is not None}
    assert found["buyer"] == {
        ("第二条", "预付款", "high"),
        ("第三条", "责任免除与限制", "high"),
        ("第五条", "争议管辖", "high"),
    }
    assert found["卖方"] == {("第四条", "合同解除", "high")}


async def test_progress_is_told_and_never_falls(bench: Bench) -> None:
    await bench.process(settings=ReviewSettings(group=3))
    await bench.playbook()
    task = await bench.upload(many(40))
    row = await bench.ended(task)
    assert row.clauses == 40
    told = [(done, clauses) for _, done, clauses in bench.told(task)]
    assert told[0] == (0, 0)
    assert told == sorted(told)
    assert (ReviewStatus.PROCESSING, 0, 40) in bench.told(task)
    assert bench.told(task)[-1] == (ReviewStatus.COMPLETED, 40, 40)


async def test_one_line_is_one_clause(bench: Bench) -> None:
    await bench.process()
    await bench.playbook()
    row = await bench.ended(await bench.upload("本合同采用款到发货的方式结算"))
    assert (row.status, row.clauses) == (ReviewStatus.COMPLETED, 1)


async def test_five_hundred_pages_are_reviewed_by_a_bounded_number_of_jobs(bench: Bench) -> None:
    """500 articles of a page each."""
    await bench.process(settings=ReviewSettings(fanout=16))
    await bench.playbook()
    before = value(names.JOBS, "assess", "done")
    article = "第{}条 价款\n" + "卖方应按约定交付货物，买方应按约定支付价款。" * 20 + "\n"
    task = await bench.upload("".join(article.format(number) for number in range(1, 501)))
    row = await bench.ended(task, limit_s=60)
    assert (row.status, row.clauses, row.done) == (ReviewStatus.COMPLETED, 500, 500)
    await bench.processes[0].assessor.drain(5)
    assert value(names.JOBS, "assess", "done") == before + 16


async def test_a_killed_worker_is_succeeded_and_no_clause_counts_twice(bench: Bench) -> None:
    """The first process stores some clauses, holds others, and dies; another one does the rest."""

    async def hangs_at_ten(clause: str, _: int) -> tuple[Verdict, ...]:
        if int(clause[1 : clause.index("条")]) % 10 == 0:
            await forever()
        return verdict("first")

    async def second(clause: str, _: int) -> tuple[Verdict, ...]:
        return verdict("second")

    hanging, going = Scripted(hangs_at_ten), Scripted(second)
    victim = await bench.process(hanging, ReviewSettings(group=5, jobs=32))
    await bench.playbook()
    task = await bench.upload(many(60))
    await bench.gateway.until(lambda: any(done >= 30 for _, done, _ in bench.told(task)))
    assert await bench.store.reviews.findings("default", task)
    await bench.process(going)
    await victim.kill()
    row = await bench.ended(task)
    findings = await bench.store.reviews.findings("default", task)
    assert [one.number for one in findings] == list(range(60))
    assert {one.reason for one in findings} == {"first", "second"}
    assert row.summary is not None
    assert (row.done, row.summary.risks["low"], row.summary.clauses) == (60, 60, 60)
    stored_before = {one.clause for one in findings if one.reason == "first"}
    assert not stored_before & set(going.calls), "what was stored is not judged again"


async def test_the_same_jobs_twice_complete_a_task_once(bench: Bench) -> None:
    before = value(names.REVIEWS, "completed")
    for _ in range(2):
        await bench.process(settings=ReviewSettings(group=2))
    await bench.playbook()
    task = await bench.upload(many(30))
    await bench.send(task)
    await bench.send(task)
    await bench.ended(task)
    link = await bench.broker.process("look").open("look")
    for number in range(0, 30, 2):
        job = AssessClauses(tenant="default", task=task, first=number, count=2)
        await link.publish(WORK, Stage.ASSESS, message(job))
    other = await bench.upload(CONTRACT)
    await bench.ended(other)
    assert value(names.REVIEWS, "completed") == before + 2


async def test_a_clause_that_fails_climbs_the_ladder_and_the_others_are_kept(bench: Bench) -> None:
    async def fails_once(clause: str, calls: int) -> tuple[Verdict, ...]:
        if clause.startswith("第7条") and calls == 1:
            raise Unavailable("the index cannot answer")
        return verdict("ok")

    assessor = Scripted(fails_once)
    before = value(names.RETRIES, "assess", "0")
    await bench.process(assessor)
    await bench.playbook()
    task = await bench.upload(many(12))
    row = await bench.ended(task)
    assert row.status is ReviewStatus.COMPLETED
    assert value(names.RETRIES, "assess", "0") == before + 1
    assert {clause[:3]: count for clause, count in assessor.calls.items() if count > 1} == {"第7条": 2}
    assert len(await bench.store.reviews.findings("default", task)) == 12


async def test_at_the_ladders_end_the_clause_is_named_and_the_job_parked(bench: Bench) -> None:
    async def never(clause: str, _: int) -> tuple[Verdict, ...]:
        if clause.startswith("第3条"):
            raise RuntimeError("a secret of the defect")
        return ()

    process = await bench.process(Scripted(never))
    await bench.playbook()
    letters = await JobTap.open(bench.broker.process("tap"), DEAD_QUEUE)
    task = await bench.upload(many(5))
    await bench.gateway.until(lambda: any(one[1] == 4 for one in bench.told(task)))
    last = AssessClauses(tenant="default", task=task, first=0, count=5, tries=3)
    link = await bench.broker.process("gw").open("publish")
    await link.publish(WORK, Stage.ASSESS, message(last))
    row = await bench.ended(task)
    assert row.status is ReviewStatus.COMPLETED
    (finding,) = await bench.store.reviews.findings("default", task)
    assert (finding.clause[:3], finding.risk, finding.rule) == ("第3条", Risk.UNKNOWN, None)
    assert "未能评估" in finding.reason
    assert "secret" not in finding.reason
    letter = await letters.delivery()
    assert letter.headers["parley-queue"] == "parley.assess"
    assert letter.headers["parley-reason"] == "exhausted"
    assert process.assessor.check() is None


async def test_an_engine_that_fails_is_replaced_by_the_rules_and_says_so(bench: Bench) -> None:
    async def down(_: str, __: int) -> tuple[Verdict, ...]:
        raise EngineError("the model's server answered HTTP 503")

    before = value(names.REVIEW_FALLBACKS, "scripted")
    await bench.process(Scripted(down))
    await bench.playbook()
    row = await bench.ended(await bench.upload(CONTRACT))
    assert row.summary is not None
    assert row.summary.assessors == {"playbook": row.clauses}
    assert row.summary.notes == ("scripted: the model's server answered HTTP 503",)
    assert row.summary.risks["high"] == 3
    assert value(names.REVIEW_FALLBACKS, "scripted") == before + row.clauses


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pdf", b"%PDF-1.7\nrubbish", "PDF is damaged"),
        ("a.docx", b"PK\x03\x04 rubbish", "DOCX is damaged"),
        ("a.txt", b"\x89PNG\x00\x00\x00", "binary"),
        ("", b" \n\t ", "没有可以审查的文本"),
    ],
)
async def test_a_document_that_cannot_be_read_fails_the_task(bench: Bench, name: str, data: bytes, words: str) -> None:
    await bench.process()
    await bench.playbook()
    row = await bench.ended(await bench.upload(data, name=name))
    assert row.status is ReviewStatus.FAILED
    assert words in row.error
    assert "请" in row.error


async def test_without_a_playbook_the_owner_is_told_what_to_do(bench: Bench) -> None:
    await bench.process()
    await bench.playbook("other")
    row = await bench.ended(await bench.upload(CONTRACT))
    assert row.status is ReviewStatus.FAILED
    assert "playbook" in row.error


async def test_too_many_clauses_are_refused(bench: Bench) -> None:
    await bench.process(settings=ReviewSettings(max_clauses=10))
    await bench.playbook()
    row = await bench.ended(await bench.upload(many(11)))
    assert row.status is ReviewStatus.FAILED
    assert "11 条" in row.error


async def backdate(bench: Bench, column: str, task: int) -> None:
    database = bench.store._db
    statement = f"UPDATE reviews SET {column} = {column} - 100000 WHERE id = {task}"
    await database.write(database.prepare(sa.text(statement)), {})


async def test_a_task_whose_job_was_lost_is_sent_again_by_one_of_the_sweeps(bench: Bench) -> None:
    one, two = await bench.process(), await bench.process()
    await bench.playbook()
    task = await bench.upload(CONTRACT, send=False)
    assert await one.sweeper.sweep() == 0
    await backdate(bench, "heard_at", task)
    assert sum(await asyncio.gather(one.sweeper.sweep(), two.sweeper.sweep())) == 1
    assert (await bench.ended(task)).status is ReviewStatus.COMPLETED


async def test_a_task_beyond_its_deadline_fails_instead_of_standing_for_ever(bench: Bench) -> None:
    process = await bench.process(consume=False)
    task = await bench.upload(CONTRACT, send=False)
    await bench.store.reviews.begin("default", task)
    for column in ("heard_at", "created_at"):
        await backdate(bench, column, task)
    await process.sweeper.sweep()
    row = await bench.ended(task)
    assert row.status is ReviewStatus.FAILED
    assert "限定时间" in row.error


async def test_a_dead_letter_of_the_broker_ends_what_it_stood_for(bench: Bench) -> None:
    """A reader that dies at each delivery: the broker gives up, and the parker ends the task."""
    process = await bench.process(consume=False)
    link = await bench.broker.process("rag-dead").open("publish")

    async def delivered(*_: object) -> None:
        return None

    parker = Parker(bench.broker.process("rag-dead"), bench.store, link, delivered, reviews=process.parts.endings.dead)
    await parker.start()
    task = await bench.upload(CONTRACT, send=False)
    taking = await bench.broker.process("taker").open("take")
    spec = topology().queue("parley.review")
    tasks = []
    subscription = await taking.subscribe(
        lambda: spec, lambda delivery: tasks.append(asyncio.ensure_future(delivery.reject())), prefetch=1
    )
    await subscription.wait_consuming(5)
    await link.publish(WORK, Stage.REVIEW, message(ReadReview(tenant="default", task=task)))
    row = await bench.ended(task)
    assert row.status is ReviewStatus.FAILED
    assert "未能完成" in row.error
    await parker.drain(5)
    (letter,) = await bench.store.dead()
    assert (letter.queue, letter.reason) == ("parley.review", "rejected")
    await parker.aclose()


async def test_what_cannot_be_decoded_is_dead_lettered_and_the_next_job_served(bench: Bench) -> None:
    await bench.process()
    await bench.playbook()
    letters = await JobTap.open(bench.broker.process("tap"), DEAD_QUEUE)
    link = await bench.broker.process("gw").open("publish")
    for stage in (Stage.REVIEW, Stage.ASSESS):
        await link.publish(WORK, stage, Message(b"\xc1rubbish"))
    await link.publish(WORK, Stage.REVIEW, message(AssessClauses(tenant="t", task=1, first=0, count=1)))
    await letters.delivery(3)
    assert (await bench.ended(await bench.upload(CONTRACT))).status is ReviewStatus.COMPLETED


async def test_a_store_that_is_away_costs_no_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.process()
    await bench.playbook()
    away, tried = True, asyncio.Event()
    real = bench.store.reviews.assess

    async def assess(*arguments: object) -> object:
        if away:
            tried.set()
            raise Unavailable("the store cannot be reached")
        return await real(*arguments)

    monkeypatch.setattr(bench.store.reviews, "assess", assess)
    before = value(names.RETRIES, "assess", "0")
    task = await bench.upload(CONTRACT)
    async with asyncio.timeout(30):
        await tried.wait()
    away = False
    assert (await bench.ended(task)).status is ReviewStatus.COMPLETED
    assert value(names.RETRIES, "assess", "0") == before
