"""The speaking stage on the in-memory broker."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from parley_inference.app import Service, serve_stage
from parley_inference.choose import Chosen
from parley_inference.config import InferenceSettings
from parley_inference.engines.scripted import ScriptedGenerator, ScriptedSettings
from parley_inference.speech.registry import Voice
from parley_inference.speech.synthesizer import Synthesizer, Utterance
from parley_inference.speech.tone import ToneSettings, ToneSynthesizer, tone
from parley_protocol import codec
from parley_protocol.audio import Speak, Spoken
from parley_protocol.control import Audience, EngineInfo, Hush
from parley_protocol.routes import WORK, Stage, event_queue, stage_queue
from parley_runtime.config import read
from parley_runtime.errors import EngineError
from parley_runtime.ports import Delivery, Message
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import metrics, names
from parley_testkit.house import House, open_house
from parley_testkit.turns import Collector

pytestmark = pytest.mark.unit

CHAR_MS = 50


class Mouth(Collector):
    """A gateway's event queue, for speech alone."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Spoken] = []
        self.tasks: set[asyncio.Task[bool]] = set()

    @classmethod
    async def open(cls, house: House, name: str = "gw-voice") -> "Mouth":
        mouth = cls()
        link = await house.broker.process(name).open("events")
        subscription = await link.subscribe(lambda: event_queue(name, "1"), mouth.on_delivery, prefetch=100)
        await subscription.wait_consuming(5)
        return mouth

    def on_delivery(self, delivery: Delivery) -> None:
        part = codec.unpack_gateway(delivery.body)
        assert isinstance(part, Spoken)
        self.parts.append(part)
        self.tasks.add(asyncio.create_task(delivery.ack()))
        self.changed()

    async def sentence(self, index: int = 0) -> list[Spoken]:
        """All parts of one, once it is over."""

        def over() -> bool:
            return any(part.index == index and part.last for part in self.parts)

        await self.until(over)
        return [part for part in self.parts if part.index == index]


class Fake:
    """Says ``chunks``, then does ``then``; counts what runs."""

    name = "tone"
    model = "fake"
    deterministic = True

    def __init__(self, *chunks: bytes, then: Exception | None = None, hangs: bool = False) -> None:
        self.chunks, self.then, self.hangs = chunks, then, hangs
        self.asked: list[Utterance] = []
        self.begun: asyncio.Queue[Utterance] = asyncio.Queue()
        self.speaking = asyncio.Event()
        self.freed = asyncio.Event()
        self.trouble: str | None = None

    async def speak(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        self.asked.append(utterance)
        self.begun.put_nowait(utterance)
        try:
            for chunk in self.chunks:
                yield chunk
            self.speaking.set()
            if self.hangs:
                await asyncio.Event().wait()
            if self.then is not None:
                raise self.then
        finally:
            self.freed.set()

    def problem(self) -> str | None:
        return self.trouble

    async def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path) as opened:
        yield opened


@asynccontextmanager
async def _serving(
    house: House, synthesizer: Synthesizer, *, seats: int = 4, name: str = "inference-1", **environ: str
) -> AsyncIterator[tuple[Process, Service]]:
    settings = read(InferenceSettings, environ)
    process = Process("inference", CommonSettings(process_id=name))
    generator = ScriptedGenerator(ScriptedSettings())
    chosen = Chosen(generator, EngineInfo("generate", "scripted", "a test", "scripted"), 4, {})
    voice = Voice(synthesizer, EngineInfo("speak", synthesizer.name, "a test", synthesizer.model), seats)
    broker = house.broker.process(name)
    async with serve_stage(process, settings, chosen, broker=broker, store=house.store, voice=voice) as service:
        process.started.set()
        yield process, service


async def _ask(house: House, text: str = "hello", **changes: Any) -> Speak:
    values: dict[str, Any] = {"speech": "s", "index": 0, "text": text, "gateway": "gw-voice", "rate": 8000}
    job = Speak(**(values | changes))
    link = await house.broker.process("asker").open("publish")
    await link.publish(WORK, Stage.SPEAK, Message(codec.pack(job), expires_s=job.budget_s))
    return job


def _tone() -> ToneSynthesizer:
    return ToneSynthesizer(ToneSettings(char_ms=CHAR_MS))


async def _queued(house: House) -> tuple[int, int] | None:
    link = await house.broker.process("looker").open("look")
    return await link.depth(stage_queue(Stage.SPEAK))


async def test_a_sentence_becomes_parts_in_order_the_first_one_small(house: House) -> None:
    mouth = await Mouth.open(house)
    said = metrics.value(names.SPEECH_CHARACTERS, "tone")
    async with _serving(house, _tone()) as (process, service):
        await _ask(house, "hello there, you")
        parts = await mouth.sentence()
        await service.drain(5.0)
        presence = process.presence()
    expected = b"".join(tone(char, 8000, CHAR_MS / 1000) for char in "hello there, you")
    assert b"".join(part.data for part in parts) == expected
    assert [part.part for part in parts] == list(range(len(parts)))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [len(part.data) for part in parts] == [60 * 16, 300 * 16, 300 * 16, 140 * 16]
    assert {(part.speech, part.index, part.attempt, part.rate, part.fault) for part in parts} == {
        ("s", 0, 0, 8000, None)
    }
    assert metrics.value(names.SPEECH_CHARACTERS, "tone") == said + 16
    assert presence.seats == 4 + 4
    assert [engine.stage for engine in presence.engines] == ["generate", "speak"]


async def test_what_cannot_be_said_is_told_with_its_fault(house: House) -> None:
    mouth = await Mouth.open(house)
    async with _serving(house, _tone(), PARLEY_SPEECH_MAX_TEXT="20"):
        await _ask(house, "...", index=0)
        await _ask(house, "long " * 20, index=1)
        await _ask(house, "x", index=2, rate=1)
        await _ask(house, "x", index=3, speed=0.0)
        faults = [(await mouth.sentence(index))[-1].fault for index in range(4)]
    assert [fault.retryable for fault in faults if fault is not None] == [False] * 4
    assert "PARLEY" not in str(faults[0])
    assert "20 characters" in str(faults[1])


async def test_a_failure_and_a_defect_are_told_and_free_the_seat(house: House) -> None:
    mouth = await Mouth.open(house)
    for index, error in enumerate((EngineError("cut off"), ValueError("a defect"))):
        async with _serving(house, Fake(bytes(2000), then=error), seats=1) as (_, service):
            await _ask(house, index=index)
            parts = await mouth.sentence(index)
            await service.drain(5.0)
        fault = parts[-1].fault
        assert fault is not None
        assert fault.retryable
        assert [len(part.data) for part in parts] == [960, 0]
    assert await _queued(house) == (0, 0)


async def test_too_late_is_told(house: House) -> None:
    mouth = await Mouth.open(house)
    engine = Fake(bytes(2000), hangs=True)
    async with _serving(house, engine):
        await _ask(house, budget_s=0.05)
        (*_, last) = await mouth.sentence()
    assert last.fault is not None
    assert last.fault.code == "expired"
    assert engine.freed.is_set()


async def test_one_that_waited_too_long_is_never_said(house: House) -> None:
    mouth = await Mouth.open(house)
    engine = Fake(bytes(2000))
    await _ask(house, "old", budget_s=0.001)
    await asyncio.sleep(0.01)
    async with _serving(house, engine):
        await _ask(house, "new", index=1)
        await mouth.sentence(1)
    assert [utterance.text for utterance in engine.asked] == ["new"]


async def test_garbage_is_dropped_and_counted(house: House) -> None:
    mouth = await Mouth.open(house)
    before = metrics.value(names.UNDECODABLE, "speak")
    async with _serving(house, _tone(), seats=1):
        link = await house.broker.process("asker").open("publish")
        await link.publish(WORK, Stage.SPEAK, Message(b"\xc1garbage"))
        await _ask(house)
        await mouth.sentence()
    assert metrics.value(names.UNDECODABLE, "speak") == before + 1


async def test_nobody_there_to_hear_it_stops_the_engine(house: House) -> None:
    engine = Fake(bytes(2000), hangs=True)
    async with _serving(house, engine):
        await _ask(house, gateway="gone")
        async with asyncio.timeout(30):
            await engine.freed.wait()


async def test_hush_stops_one_speech_at_once_and_no_other(house: House) -> None:
    mouth = await Mouth.open(house)
    engine = Fake(bytes(2000), hangs=True)
    async with _serving(house, engine, seats=2) as (_, service):
        await _ask(house, speech="mine")
        async with asyncio.timeout(30):
            await engine.speaking.wait()
        await house.gateway.control.broadcast(Audience.WORKERS, Hush("another"))
        assert not engine.freed.is_set()
        begun = asyncio.get_running_loop().time()
        await house.gateway.control.broadcast(Audience.WORKERS, Hush("mine"))
        async with asyncio.timeout(30):
            await engine.freed.wait()
        assert asyncio.get_running_loop().time() - begun < 0.1
        engine.hangs = False
        await _ask(house, index=1)
        await mouth.sentence(1)
        await service.drain(5.0)
    assert await _queued(house) == (0, 0)


async def test_seats_bound_what_is_said_at_a_time(house: House) -> None:
    engine = Fake(bytes(2), hangs=True)
    async with AsyncExitStack() as stack:
        process, _ = await stack.enter_async_context(_serving(house, engine, seats=2))
        for index in range(5):
            await _ask(house, index=index)
        async with asyncio.timeout(30):
            await engine.begun.get()
            await engine.begun.get()
        assert process.presence().busy == 2
        assert len(engine.asked) == 2


async def test_a_worker_that_ends_leaves_its_sentence_to_another(house: House) -> None:
    mouth = await Mouth.open(house)
    engine = Fake(bytes(2000), hangs=True)
    async with _serving(house, engine) as (_, service):
        await _ask(house, "hello")
        async with asyncio.timeout(30):
            await engine.speaking.wait()
        await service.drain(0.0)
    async with _serving(house, _tone(), name="inference-2"):
        parts = await mouth.sentence()
    assert parts[-1].fault is None
    assert parts[-1].part == len([part for part in parts if part is not parts[0]]) - 1


async def test_readiness_tells_of_the_voice(house: House) -> None:
    engine = Fake()
    async with _serving(house, engine) as (process, _):
        assert process.ready()
        engine.trouble = "the server failed 5 times in a row"
        assert process.reasons()["speech"] == engine.trouble


async def test_audio_is_made_at_the_rate_wanted(house: House) -> None:
    engine = Fake(bytes(20))
    mouth = await Mouth.open(house)
    async with _serving(house, engine):
        await _ask(house, "hi", rate=48_000, voice="v", language="de", speed=2.0)
        await mouth.sentence()
    assert engine.asked == [Utterance(text="hi", rate=48_000, voice="v", language="de", speed=2.0)]
