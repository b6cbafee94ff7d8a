"""The generation stage on the in-memory broker: jobs in, answers, records and figures out."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from parley_inference.app import Service, serve_stage
from parley_inference.choose import Chosen
from parley_inference.config import InferenceSettings
from parley_inference.engine import Generator, Piece, Request
from parley_inference.engines.extractive import ExtractiveGenerator, ExtractiveSettings
from parley_inference.engines.scripted import ScriptedGenerator, ScriptedSettings
from parley_protocol.control import Audience, EngineInfo, Stop
from parley_protocol.events import Delta, Ending, Marks, Retrieval, Source, Status, ToolCall, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.work import AnyJob, Record, Sampling, Tool
from parley_runtime.config import read
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import metrics, names, tracing
from parley_testkit.house import KEY, House, open_house, other, prompt
from parley_testkit.timing import least

pytestmark = pytest.mark.unit

PASSAGE = "A fence is a number that the store gives to each run of a turn. The higher fence wins over the lower one."
SOURCES = (Source("p1", "g.md", "Fencing", 1.0, PASSAGE, 0, len(PASSAGE)),)
MARKS = Marks(status="retrieving", retrieval=Retrieval(1, "question", "knowledge_base", SOURCES))


class FakeEngine:
    """Says ``parts``, then does ``then``; counts what runs."""

    name = "scripted"
    model = "fake"
    deterministic = True
    continues = False

    def __init__(self, *parts: str, then: Exception | None = None, hangs: bool = False) -> None:
        self.parts = parts
        self.then = then
        self.hangs = hangs
        self.asked: list[tuple[Request, str]] = []
        self.speaking = asyncio.Event()
        self.freed = asyncio.Event()
        self.closed = False
        self.trouble: str | None = None

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        self.asked.append((request, prefix))
        try:
            for part in self.parts:
                yield Piece(part)
            self.speaking.set()
            if self.hangs:
                await asyncio.Event().wait()
            if self.then is not None:
                raise self.then
            yield Piece("", Usage(5, len(self.parts)))
        finally:
            self.freed.set()

    def problem(self) -> str | None:
        return self.trouble

    async def close(self) -> None:
        self.closed = True


class Continuing(FakeEngine):
    continues = True


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        await opened.claim()
        yield opened


@asynccontextmanager
async def _serving(
    house: House, engine: Generator, seats: int = 4, **beside: Generator
) -> AsyncIterator[tuple[Process, Service]]:
    settings = read(InferenceSettings, {})
    process = Process("inference", CommonSettings(process_id="inference-1"))
    chosen = Chosen(engine, EngineInfo("generate", engine.name, "a test", engine.model), seats, beside)
    broker = house.broker.process("inference-1")
    async with serve_stage(process, settings, chosen, broker=broker, store=house.store) as service:
        process.started.set()
        yield process, service


async def _record(house: House) -> Record:
    tap = await house.tap("record")
    job: AnyJob = await tap.next()
    assert isinstance(job, Record)
    return job


async def test_a_question_is_answered_streamed_and_recorded(house: House) -> None:
    async with _serving(house, ExtractiveGenerator(ExtractiveSettings(pace_ms=0))):
        await house.gateway.publish(prompt(question="What is a fence?", marks=MARKS, n=2))
        record = await _record(house)
        await house.gateway.until(lambda: house.gateway.text(KEY) == record.text)
    assert record.text == f"{PASSAGE} [1]"
    assert record.status is TurnStatus.COMPLETED
    assert record.sources == SOURCES
    assert record.usage is not None
    assert record.usage.completion_tokens > 10
    assert [event.stage for event in house.gateway.of(KEY, Status)] == ["generating"]
    assert len(house.gateway.of(KEY, Delta)) >= 1


async def test_what_is_to_be_called_is_recorded(house: House) -> None:
    async with _serving(house, ScriptedGenerator(ScriptedSettings())):
        sampling = Sampling(tools=(Tool("look_up"),), tool_choice="=look_up")
        await house.gateway.publish(prompt(question="call=look_up", sampling=sampling))
        record = await _record(house)
    assert (record.status, record.text) == (TurnStatus.COMPLETED, "")
    assert record.ending == Ending(calls=(ToolCall("call_look_up", "look_up", "{}"),))


async def test_an_engine_that_calls_nothing_says_so_where_it_must(house: House) -> None:
    sampling = Sampling(tools=(Tool("look_up"),), tool_choice="required")
    async with _serving(house, ExtractiveGenerator(ExtractiveSettings(pace_ms=0))):
        await house.gateway.publish(prompt(question="What is a fence?", marks=MARKS, n=2, sampling=sampling))
        record = await _record(house)
    assert record.status is TurnStatus.FAILED
    assert record.fault is not None
    assert "extractive calls no functions" in record.fault.message


async def test_what_the_engine_is_asked(house: House) -> None:
    engine = FakeEngine("a")
    async with _serving(house, engine):
        await house.gateway.publish(prompt(question="Q?", marks=MARKS, kb="mine", budget_s=12.0))
        await _record(house)
    ((request, prefix),) = engine.asked
    assert (request.question, request.sources, request.intent, request.kb) == ("Q?", SOURCES, "question", "mine")
    assert request.messages == prompt().prompt
    assert 10.0 < request.deadline_s <= 12.0
    assert prefix == ""
    assert not engine.closed


async def test_tokens_first_text_and_presence_are_counted(house: House) -> None:
    engine = FakeEngine("a", "b")
    before = metrics.value(names.TOKENS, "scripted", "output"), metrics.value(names.TOKENS, "scripted", "input")
    firsts = metrics.value(names.ENGINE_FIRST_SECONDS, "scripted", suffix="_count")
    async with _serving(house, engine, seats=7) as (process, _):
        await house.gateway.publish(prompt())
        record = await _record(house)
        presence = process.presence()
    assert record.usage == Usage(5, 2)
    assert metrics.value(names.TOKENS, "scripted", "output") == before[0] + 2
    assert metrics.value(names.TOKENS, "scripted", "input") == before[1] + 5
    assert metrics.value(names.ENGINE_FIRST_SECONDS, "scripted", suffix="_count") == firsts + 1
    assert (presence.seats, presence.ready) == (7, True)
    assert presence.engines == (EngineInfo("generate", "scripted", "a test", "fake"),)


async def test_readiness_tells_of_the_engine_and_the_broker(house: House) -> None:
    engine = FakeEngine()
    async with _serving(house, engine) as (process, _):
        assert process.ready()
        engine.trouble = "the server failed 5 times in a row"
        assert process.reasons()["engine"] == engine.trouble
        assert not process.ready()


async def test_a_stop_frees_the_engine_at_once(house: House) -> None:
    turns = itertools.count()

    async def stop() -> float:
        engine, key = FakeEngine("so far ", hangs=True), TurnKey(KEY.tenant, KEY.session, f"stopped-{next(turns)}")
        async with _serving(house, engine):
            await house.gateway.publish(prompt(key=key))
            await asyncio.wait_for(engine.speaking.wait(), 30)
            begun = asyncio.get_running_loop().time()
            await house.gateway.control.broadcast(Audience.WORKERS, Stop(key))
            await asyncio.wait_for(engine.freed.wait(), 30)
            return asyncio.get_running_loop().time() - begun

    assert await least(stop, under=0.1) < 0.1


async def test_an_engine_failure_goes_to_the_retry_ladder_and_is_counted(house: House) -> None:
    engine = FakeEngine("half ", then=EngineError("cut off"))
    errors = metrics.value(names.ENGINE_ERRORS, "scripted", "EngineError")
    retries = metrics.value(names.RETRIES, "generate", "0")
    async with _serving(house, engine):
        tap = await house.tap("parley.retry.0")
        await house.gateway.publish(prompt())
        job = await tap.next()
    assert (job.again, job.tries) == (True, 1)
    assert metrics.value(names.ENGINE_ERRORS, "scripted", "EngineError") == errors + 1
    assert metrics.value(names.RETRIES, "generate", "0") == retries + 1


async def test_a_refused_request_is_recorded_as_failed(house: House) -> None:
    async with _serving(house, FakeEngine(then=EngineRejected("the prompt is too long"))):
        await house.gateway.publish(prompt())
        record = await _record(house)
    assert record.status is TurnStatus.FAILED
    assert record.fault is not None
    assert (record.fault.code, record.fault.retryable) == ("engine_failed", False)
    assert "too long" in record.fault.message


@pytest.mark.parametrize("kind", [FakeEngine, Continuing])
async def test_a_repeated_run_goes_on_from_what_was_delivered(house: House, kind: type[FakeEngine]) -> None:
    engine = kind("world") if kind is Continuing else kind("hello ", "world")
    house.gateway.prefixes[KEY] = "hello "
    async with _serving(house, engine):
        await house.gateway.publish(prompt(again=True))
        record = await _record(house)
    assert record.text == "hello world"
    assert record.fence == 2
    assert engine.asked[0][1] == "hello "


async def test_seats_bound_what_runs_at_a_time(house: House) -> None:
    engine = FakeEngine("x", hangs=True)
    async with _serving(house, engine, seats=2) as (process, service):
        for k in range(5):
            await house.gateway.publish(prompt(key=KEY.__class__(KEY.tenant, KEY.session, f"s{k}")))
        await house.gateway.until(lambda: len({turn.key for b in house.gateway.batches for turn in b.turns}) == 2)
        assert len(engine.asked) == 2
        assert process.presence().busy == 2
        await service.drain(0.0)


async def test_a_drain_hands_unfinished_answers_over(house: House) -> None:
    engine = FakeEngine("x", hangs=True)
    async with _serving(house, engine) as (_, service):
        await house.gateway.publish(prompt())
        await asyncio.wait_for(engine.speaking.wait(), 30)
        await service.drain(0.0)
        assert engine.freed.is_set()
    tap = await house.tap("generate")
    assert (await tap.next()).again


async def test_the_span_of_an_answer(house: House, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    tracing.setup("inference", "inference-1", CommonSettings(trace_file=str(path)))
    try:
        async with _serving(house, ScriptedGenerator(ScriptedSettings(tokens=3))):
            await house.gateway.publish(prompt())
            await _record(house)
    finally:
        await tracing.shutdown(5.0)
    text = await asyncio.to_thread(path.read_text, encoding="utf-8")
    (chat,) = [line for line in text.splitlines() if '"chat scripted"' in line]
    assert '"gen_ai.request.model": "scripted"' in chat
    assert '"gen_ai.usage.output_tokens": 3' in chat
    assert f'"gen_ai.conversation.id": "{KEY.session[:8]}"' in chat
    assert "Who?" not in text


class Rememberer(FakeEngine):
    """Keeps conversations: calls each of them ``thread``."""

    name = "dify"
    threads = True

    def __init__(self, thread: str, *parts: str, **options: Any) -> None:
        super().__init__(*parts, **options)
        self.thread = thread

    async def generate(self, request: Request, *, prefix: str = "") -> AsyncGenerator[Piece, None]:
        yield Piece("", thread=self.thread)
        async with aclosing(super().generate(request, prefix=prefix)) as pieces:
            async for piece in pieces:
                yield piece
        yield Piece("", sources=SOURCES)


async def test_a_job_that_names_an_engine_gets_it(house: House) -> None:
    plain, named = FakeEngine("plain"), Rememberer("c-1", "named")
    marks = Marks(retrieval=Retrieval(0, "question", "knowledge_base"))
    async with _serving(house, plain, dify=named):
        await house.gateway.publish(prompt(engine="dify", user="user_001", marks=marks, n=1))
        record = await _record(house)
    assert (record.text, record.sources) == ("named", SOURCES)
    assert plain.asked == []
    ((request, _),) = named.asked
    assert (request.user, request.thread) == ("user_001", "")
    assert house.gateway.of(KEY, Retrieval)[-1].sources == SOURCES


async def test_an_engine_that_is_not_here_is_said(house: House) -> None:
    async with _serving(house, FakeEngine("plain")):
        await house.gateway.publish(prompt(engine="dify"))
        record = await _record(house)
    assert record.fault is not None
    assert "no inference process here has the engine 'dify'" in record.fault.message


async def test_what_an_engine_calls_a_conversation_is_told_to_it_at_the_next_turn(house: House) -> None:
    records = await house.tap("record")
    engine = Rememberer("c-1", "one")
    async with _serving(house, engine):
        for number, thread in enumerate(("c-1", "c-2", "c-2"), 1):
            engine.thread = thread
            await house.gateway.publish(prompt(key=other(f"turn {number}"), user="u"))
            await records.next(number)
    assert [request.thread for request, _ in engine.asked] == ["", "c-1", "c-2"]
    assert await house.store.threads.find(KEY.tenant, KEY.session, "dify") == "c-2"
    assert await house.store.threads.find(KEY.tenant, "another", "dify") == ""


async def test_it_is_kept_though_the_answer_is_stopped(house: House) -> None:
    engine = Rememberer("c-1", "so far ", hangs=True)
    async with _serving(house, engine):
        await house.gateway.publish(prompt())
        await asyncio.wait_for(engine.speaking.wait(), 30)
        await house.gateway.control.broadcast(Audience.WORKERS, Stop(KEY))
        await asyncio.wait_for(engine.freed.wait(), 30)
    assert await house.store.threads.find(KEY.tenant, KEY.session, "dify") == "c-1"


async def test_an_engine_that_keeps_no_conversations_is_told_of_none(house: House) -> None:
    await house.store.threads.keep(KEY.tenant, KEY.session, "dify", "c-1")
    engine = Rememberer("", "one")
    engine.threads = False
    async with _serving(house, engine):
        await house.gateway.publish(prompt())
        await _record(house)
    assert engine.asked[0][0].thread == ""
    assert engine.asked[0][0].user == KEY.session
