"""Passages that are looked for at a pause in speech: one stream's on a virtual clock, then over real sockets."""

import asyncio
import base64
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley_gateway.config import TurnSettings
from parley_gateway.turns import make_request
from parley_gateway.voice.config import EarlySettings, EarSettings, FloorSettings
from parley_gateway.voice.early import Ahead
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_protocol.audio import Hearing
from parley_protocol.events import Delta, Fault, Source
from parley_protocol.work import ChatMessage, Early, Foreseen, KnowledgeReply, SearchPassages
from parley_runtime.errors import Overloaded, Unavailable
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.metrics import value
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.speaker import Speaker

from .api_fakes import Desk
from .conftest import Inbox
from .realtime import talk
from .test_realtime_asr import asr

pytestmark = pytest.mark.unit
OUTCOMES = ("asked", "sent", "resumed", "late", "failed", "nothing")
SOURCE = Source(id="p", document="a.md", title="A", score=0.9, text="A turn is one question.", start=0, end=23)


def found(query: str) -> Early:
    return Early(kb="default", query=query, limit=5, at=7, sources=(SOURCE,))


class Tally:
    """What has been counted since it was made."""

    def __init__(self) -> None:
        self._before = {outcome: value(names.EARLY, outcome) for outcome in OUTCOMES}

    def __call__(self) -> dict[str, int]:
        now = {outcome: int(value(names.EARLY, outcome) - self._before[outcome]) for outcome in OUTCOMES}
        return {outcome: count for outcome, count in now.items() if count}


class Finds:
    """Answers after ``after_s`` with what was found, or as the test says."""

    def __init__(self, after_s: float = 0.02) -> None:
        self.after_s = after_s
        self.asked: list[str] = []
        self.stopped: list[str] = []
        self.fault: Exception | None = None
        self.blank = False

    async def __call__(self, text: str, messages: tuple[ChatMessage, ...]) -> Early | None:
        self.asked.append(text)
        try:
            await asyncio.sleep(self.after_s)
        except asyncio.CancelledError:
            self.stopped.append(text)
            raise
        if self.fault is not None:
            raise self.fault
        return None if self.blank else found(text)


def ahead(find: Finds | None) -> Ahead:
    return Ahead(find, asyncio.create_task)


# --- one stream's -----------------------------------------------------------------------------------------------


@pytest.mark.virtual_time
async def test_asked_at_the_pause_and_sent_with_the_question() -> None:
    tally, find = Tally(), Finds()
    it = ahead(find)
    it.said("what is", paused=False)
    it.said("what is a turn", paused=True)
    it.said("what is a turn", paused=True)  # the same pause, told again
    await asyncio.sleep(0.36)
    assert find.asked == ["what is a turn"]
    assert it.take("what is a turn") == found("what is a turn")
    assert it.take("what is a turn") is None
    assert tally() == {"asked": 1, "sent": 1}


@pytest.mark.virtual_time
@pytest.mark.parametrize("wait_s", [0.01, 0.1])
@pytest.mark.parametrize("text", ["what is a turn", "what is a turn of"])
async def test_speech_that_goes_on_cancels_it(wait_s: float, text: str) -> None:
    tally, find = Tally(), Finds(0.05)
    it = ahead(find)
    it.said("what is a turn", paused=True)
    await asyncio.sleep(wait_s)
    it.said(text, paused=False)
    await asyncio.sleep(1)
    assert find.stopped == (["what is a turn"] if wait_s < 0.05 else [])
    assert it.take("what is a turn") is None
    assert tally() == {"asked": 1, "resumed": 1}


@pytest.mark.virtual_time
async def test_the_next_pause_asks_for_the_whole_question() -> None:
    tally, find = Tally(), Finds()
    it = ahead(find)
    it.said("what is", paused=True)
    it.said("what is a turn", paused=True)
    await asyncio.sleep(0.36)
    assert it.take("what is a turn") == found("what is a turn")
    assert (find.asked, find.stopped) == (["what is a turn"], [])  # the first one had not even begun
    assert tally() == {"asked": 2, "resumed": 1, "sent": 1}


@pytest.mark.virtual_time
async def test_it_is_never_waited_for() -> None:
    tally, find = Tally(), Finds(1.0)
    it = ahead(find)
    it.said("what is a turn", paused=True)
    await asyncio.sleep(0.36)
    before = asyncio.get_running_loop().time()
    assert it.take("what is a turn") is None
    assert asyncio.get_running_loop().time() == before
    await asyncio.sleep(2)
    assert find.stopped == ["what is a turn"]
    assert tally() == {"asked": 1, "late": 1}


@pytest.mark.virtual_time
async def test_another_text_is_not_what_was_looked_for() -> None:
    tally = Tally()
    it = ahead(Finds())
    it.said("what is a turn", paused=True)
    await asyncio.sleep(0.36)
    assert it.take("what is a fern") is None
    assert tally() == {"asked": 1, "resumed": 1}


@pytest.mark.virtual_time
@pytest.mark.parametrize("fault", [Unavailable("no worker"), Overloaded("full", retry_after_s=1), ZeroDivisionError()])
async def test_a_failure_is_counted_and_nothing_else(fault: Exception) -> None:
    tally, find = Tally(), Finds()
    find.fault = fault
    it = ahead(find)
    it.said("what is a turn", paused=True)
    await asyncio.sleep(0.1)
    it.said("what is a turn", paused=True)
    await asyncio.sleep(0.1)
    assert it.take("what is a turn") is None
    assert len(find.asked) == 1
    assert tally() == {"asked": 1, "failed": 1}


@pytest.mark.virtual_time
async def test_nothing_found_is_no_failure() -> None:
    tally, find = Tally(), Finds()
    find.blank = True
    it = ahead(find)
    it.said("hello", paused=True)
    await asyncio.sleep(0.1)
    assert it.take("hello") is None
    assert tally() == {"asked": 1, "nothing": 1}


@pytest.mark.virtual_time
async def test_without_words_or_switched_off_nothing_is_asked() -> None:
    tally, find = Tally(), Finds()
    ahead(find).said("", paused=True)
    off = ahead(None)
    off.said("what is a turn", paused=True)
    await asyncio.sleep(0.1)
    assert off.take("what is a turn") is None
    assert (find.asked, tally()) == ([], {})


@pytest.mark.virtual_time
@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_asked_is_counted_once_and_nothing_is_left_running(seed: int) -> None:
    rng, tally, find = random.Random(seed), Tally(), Finds(0.05)
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Any) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work))
        return tasks[-1]

    it, sent = Ahead(find, spawn), 0
    for _ in range(300):
        find.fault = rng.choice([None, None, Unavailable("away")])
        find.blank = rng.random() < 0.2
        match rng.choice(["pause", "pause", "pause", "speak", "drop", "take", "take"]):
            case "pause":
                it.said(rng.choice(["one", "one", "one", "one two"]), paused=True)
            case "speak":
                it.said(rng.choice(["one", "one", "one", "one two"]), paused=False)
            case "drop":
                it.drop()
            case "take":
                text = rng.choice(["one", "one", "one", "one two"])
                got = it.take(text)
                assert got is None or got.query == text
                sent += got is not None
        await asyncio.sleep(rng.choice([0, 0.01, 0.05, 0.1]))
        assert sum(not task.done() for task in tasks) <= 1
    it.drop()
    await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    counts = Counter(tally())
    assert counts["asked"] == counts.total() - counts["asked"] > 50
    assert counts["sent"] == sent > 0


# --- over real sockets ------------------------------------------------------------------------------------------

FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3, silence_ms=600)
PAUSE, END = silence(300), silence(400)
"""The pause is told after 240 ms, and the end after 600."""


LONG = "This answer goes on for as long as anybody listens to it, and then for a while. "


class Knower(Desk):
    """A knowledge worker that finds something, and tells the test when it has said so."""

    def __init__(self, link: Any) -> None:
        super().__init__(link)
        self.answered = Inbox()
        self.headers: list[dict[str, Any]] = []
        self.say = lambda command: KnowledgeReply(early=found(command.query))

    async def _serve(self, delivery: Any) -> None:
        self.headers.append(dict(delivery.headers))
        await super()._serve(delivery)
        self.answered.put(self.commands[-1])


@asynccontextmanager
async def listening(house: Any, **fields: Any) -> Any:
    """A client, the knowledge worker, and the gateway; what is said is heard."""
    knower = await Knower.open(house.broker.process("rag-1"))
    assert isinstance(knower, Knower)
    gateway = await house.gateway(ears=FAST, **fields)
    listener = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    house.stack.push_async_callback(listener.close)
    async with house.client(gateway) as client:
        yield client, knower, gateway


async def test_the_question_brings_what_was_found_while_it_was_spoken(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, _):
        await client.send(type="audio.start", turn="t1", kb="docs")
        await client.socket.send(speech("what is a turn") + PAUSE)
        command = await knower.answered.get()
        assert command == SearchPassages(
            call=command.call,
            reply_to="gateway-1",
            tenant="default",
            kb="docs",
            query="what is a turn",
            foreseen=Foreseen(client.session),
        )
        await client.send(type="audio.stop")
        job = await house.worker.jobs.get()
        assert (job.question, job.early) == ("what is a turn", found("what is a turn"))
        typed = make_request("t2", "what is a turn", kb="docs", budget_s=1, max_text=99)
        assert job.digest == typed.digest
        await house.worker.answer(job, "So.")
        await client.until("turn.done")
    assert tally() == {"asked": 1, "sent": 1}


async def test_speech_after_the_pause_asks_anew(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, _):
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is") + PAUSE)
        await knower.answered.get()
        await client.socket.send(speech("a turn") + PAUSE)
        assert (await knower.answered.get()).query == "what is a turn"
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).early == found("what is a turn")
    assert tally() == {"asked": 2, "resumed": 1, "sent": 1}


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("late", None), ("failed", Fault("unavailable", "the store is away", True)), ("nothing", KnowledgeReply())],
)
async def test_the_turn_goes_as_ever_without_it(house: Any, outcome: str, said: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, _):
        knower.say = lambda _: said
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await knower.answered.get()
        await client.send(type="audio.stop")
        job = await house.worker.jobs.get()
        assert (job.question, job.early) == ("what is a turn", None)
        await house.worker.answer(job, "So.")
        assert (await client.until("turn.done"))["status"] == "completed"
    assert tally() == {"asked": 1, outcome: 1}


async def test_an_old_worker_that_just_searches_does_no_harm(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, _):
        knower.say = lambda _: KnowledgeReply(sources=(SOURCE,))
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await knower.answered.get()
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).early is None
    assert tally() == {"asked": 1, "nothing": 1}


async def test_nobody_answers_in_time(house: Any) -> None:
    tally = Tally()
    async with listening(house, early=EarlySettings(wait_s=0.05)) as (client, knower, gateway):
        knower.say = lambda _: None
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await knower.answered.get()
        (look,) = (task for task in gateway.hub.tasks if task.get_coro().__name__ == "_look")
        await asyncio.wait({look}, timeout=10)  # nobody is told
        assert tally() == {"asked": 1, "failed": 1}
        assert not gateway.hub.calls._pending
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).early is None


async def test_it_takes_no_room_that_others_need(house: Any) -> None:
    tally = Tally()
    async with listening(house, turns=TurnSettings(max_calls=1)) as (client, knower, _):
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).early is None
        assert not knower.commands
    assert tally()["asked"] == 1
    assert "sent" not in tally()


async def test_switched_off_nobody_is_asked(house: Any) -> None:
    tally = Tally()
    async with listening(house, early=EarlySettings(on=False)) as (client, knower, _):
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await client.send(type="audio.stop")
        assert (await house.worker.jobs.get()).early is None
        assert not knower.commands
    assert tally() == {}


async def test_a_turn_that_is_cancelled_in_mid_pause_drops_it(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, gateway):
        knower.say = lambda _: None
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(speech("what is a turn") + PAUSE)
        await knower.answered.get()
        await client.send(type="turn.cancel", turn="t1")
        await client.until("error", "t1")
        await client.socket.send(speech("and"))
        await client.send(type="ping")
        await client.until("pong")
        assert not gateway.hub.calls._pending
    assert tally() == {"asked": 1, "resumed": 1}


async def test_the_search_belongs_to_the_trace_of_the_turn(house: Any, tmp_path: Any) -> None:
    tracing.setup("gateway", "gateway-1", CommonSettings(trace_file=str(tmp_path / "spans.jsonl")))
    try:
        async with listening(house) as (client, knower, _):
            await client.send(type="audio.start", turn="t1")
            await client.socket.send(speech("what is a turn") + PAUSE)
            await knower.answered.get()
            await client.send(type="audio.stop")
            await house.worker.jobs.get()
        trace = house.worker.headers[0]["traceparent"].split("-")[1]
        assert knower.headers[0]["traceparent"].split("-")[1] == trace
    finally:
        await tracing.shutdown(1.0)


async def test_hands_free_each_utterance_brings_its_own(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (client, knower, _):
        await client.send(type="audio.start", turn="t", hands_free=True)
        for number, text in enumerate(("what is a turn", "谁 保存")):
            await client.socket.send(speech(text) + PAUSE)
            assert (await knower.answered.get()).query == text
            await client.socket.send(END)
            job = await house.worker.jobs.get()
            assert (job.key.turn, job.early) == (f"t.{number}", found(text))
            await house.worker.answer(job, "So.")
            await client.until("turn.done", f"t.{number}")
    assert tally() == {"asked": 2, "sent": 2}


async def test_hands_free_words_that_are_no_question_ask_nobody(house: Any) -> None:
    """A backchannel over an answer: the floor is not the user's. Words that interrupt it take the floor."""
    tally = Tally()
    voice = await Speaker.open(house.broker)
    house.stack.push_async_callback(voice.control.aclose)
    async with listening(house, mouths=MouthSettings(lead_s=60.0)) as (client, knower, gateway):
        gateway.hub.floor = FloorSettings(least_s=0).rules()
        await client.send(type="audio.start", turn="t", hands_free=True, speak={"rate": 8000})
        await client.socket.send(speech("what is a turn") + PAUSE)
        assert (await knower.answered.get()).query == "what is a turn"
        await client.socket.send(END)
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(1, 0, LONG))
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech("uh-huh") + PAUSE + END)
        await client.until("answer.flush")
        await client.until("answer.audio", "t.0")
        await client.socket.send(speech("stop and tell me more") + PAUSE)
        assert (await knower.answered.get()).query == "stop and tell me more"
        assert tally() == {"asked": 2, "sent": 1}
        client.socket.transport.abort()  # it has not read all of the answer


# --- other protocols --------------------------------------------------------------------------------------------

WIDE = Hearing(rate=24_000)


async def realtime_says(client: Any, data: bytes) -> None:
    await client.send(type="input_audio_buffer.append", audio=base64.b64encode(data).decode())


async def test_realtime_looks_for_it_in_the_clients_own_conversation(house: Any) -> None:
    tally = Tally()
    audio = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 600}}
    async with listening(house) as (_, knower, gateway), talk(gateway) as client:
        await client.send(type="session.update", session={"type": "realtime", "audio": {"input": audio}})
        await client.until("session.updated")
        await client.say("What is the ladder?")
        await realtime_says(client, speech("and what is", WIDE) + silence(300, WIDE))
        await knower.answered.get()
        await realtime_says(client, speech("its size", WIDE) + silence(300, WIDE))
        command = await knower.answered.get()
        await realtime_says(client, silence(400, WIDE))
        job = await house.worker.jobs.get()
    assert [each.content for each in job.messages] == ["What is the ladder?", "and what is its size"]
    assert (command.kb, command.query, command.foreseen.messages) == ("default", job.question, job.messages)
    assert command.foreseen.session == job.key.session
    assert job.early == found("and what is its size")
    assert tally() == {"asked": 2, "resumed": 1, "sent": 1}


@pytest.mark.parametrize(
    "detection", [None, {"type": "server_vad", "silence_duration_ms": 600, "create_response": False}]
)
async def test_realtime_without_answers_of_its_own_looks_for_nothing(house: Any, detection: Any) -> None:
    tally = Tally()
    async with listening(house) as (_, knower, gateway), talk(gateway) as client:
        session = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}
        await client.send(type="session.update", session=session)
        await client.until("session.updated")
        await realtime_says(client, speech("what is a turn", WIDE) + silence(700, WIDE))
        if detection is None:
            await client.send(type="input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.respond()
        assert (await house.worker.jobs.get()).early is None
    assert (tally(), knower.commands) == ({}, [])


async def final(client: Any, text: str) -> None:
    while (frame := await client.next()) != {"type": "transcript", "text": text, "is_final": True}:
        assert frame["type"] != "error"


async def test_d4_looks_for_it_where_the_utterance_holds_a_question(house: Any) -> None:
    tally = Tally()
    async with listening(house) as (_, knower, gateway), asr(gateway) as client:
        await client.send(type="audio_config", encoding="pcm_s16le", sample_rate=16_000, channels=1)
        await client.socket.send(speech("i see") + PAUSE + END)
        await final(client, "i see")
        await client.socket.send(speech("what is a turn") + PAUSE)
        command = await knower.answered.get()
        await client.socket.send(END)
        job = await house.worker.jobs.get()
        assert (command.query, command.foreseen) == ("what is a turn", Foreseen(job.key.session))
        assert (job.question, job.early) == ("what is a turn", found("what is a turn"))
        # Another one would have to wait for the answer to this one.
        await client.socket.send(speech("what is a fern") + PAUSE + END)
        await final(client, "what is a fern")
    assert tally() == {"asked": 1, "sent": 1}
    assert len(knower.commands) == 1
