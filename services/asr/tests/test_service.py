"""The listening stage on the in-memory broker: leases in, what is heard out, and every way in which a lease ends."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hearing import Ear, pcm

from parley_asr import bases
from parley_asr.app import serve_stage
from parley_asr.choose import Chosen
from parley_asr.config import AsrSettings
from parley_asr.engine import Abilities, Base, Hint
from parley_asr.engines.scripted import ScriptedRecognition, ScriptedSettings, ScriptedTranscriber, speak
from parley_asr.service import Listening
from parley_asr.vad import EnergyModel
from parley_asr.workshop import threads_for
from parley_protocol.audio import (
    AudioPart,
    Ended,
    Failed,
    Heard,
    Hearing,
    Leased,
    Mark,
    Moving,
    Partial,
    Progress,
    SpeechStarted,
)
from parley_protocol.control import EngineInfo
from parley_protocol.routes import topology
from parley_protocol.work import DocumentInfo
from parley_runtime.config import read
from parley_runtime.errors import EngineError
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store, StoredPassage
from parley_runtime.telemetry import metrics, names, tracing
from parley_testkit.memory import MemoryBroker

pytestmark = pytest.mark.unit

ONE_TWO = pcm(speak(["one", "two"], silence_s=0.2))


class House:
    """A broker, a gateway's ear, and workers as a test adds them."""

    def __init__(self, store: Store) -> None:
        self.broker = MemoryBroker(topology())
        self.store = store
        self.ear: Ear

    @asynccontextmanager
    async def worker(
        self, name: str = "asr-1", *, seats: int = 4, engine: Any = None, **environ: str
    ) -> AsyncIterator[Listening]:
        settings = read(AsrSettings, environ)
        process = Process("asr", CommonSettings(process_id=name))
        engine = engine or ScriptedTranscriber(ScriptedSettings())
        chosen = Chosen(engine, EngineInfo("listen", engine.name, "a test", engine.model), seats)
        broker = self.broker.process(name)
        async with serve_stage(process, settings, chosen, EnergyModel(), broker=broker, store=self.store) as listening:
            process.started.set()
            assert process.reasons() == dict.fromkeys(process.reasons())
            yield listening


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await open_store(f"sqlite+aiosqlite:///{tmp_path}/parley.db")
    made = House(store)
    made.ear = await Ear.open(made.broker.process("gw"))
    yield made
    await made.ear.close()
    await made.broker.close()
    await store.aclose()


async def test_a_stream_is_leased_heard_and_ended(house: House) -> None:
    audio = metrics.value(names.AUDIO_SECONDS)
    async with house.worker() as listening:
        worker = await house.ear.lease()
        assert worker == "asr-1"
        assert listening.busy == 1
        await house.ear.say(worker, ONE_TWO, mark=Mark.END)
        ended = await house.ear.wait(Ended)
        assert listening.busy == 0
    assert isinstance(house.ear.events()[0], Leased)
    assert house.ear.of("s1", Leased)[0].engine == "scripted"
    assert [last.text for last in house.ear.of("s1", Heard)] == ["one two"]
    assert house.ear.of("s1", SpeechStarted)
    assert house.ear.of("s1", Partial)
    assert max(event.taken for event in house.ear.of("s1", Progress)) == len(ONE_TWO)
    assert metrics.value(names.AUDIO_SECONDS) - audio == pytest.approx(len(ONE_TWO) / 32_000)
    whole, vad, engine = (metrics.value(names.LISTEN_WORK_SECONDS, part) for part in ("all", "vad", "engine"))
    assert whole > vad + engine > 0
    assert ended.audio_ms == pytest.approx(len(ONE_TWO) / 32, abs=32)
    assert house.broker.messages("parley.listen") == ()


async def test_commits_number_the_utterances_and_move_keep(house: House) -> None:
    async with house.worker():
        worker = await house.ear.lease(utterance=3)
        await house.ear.say(worker, ONE_TWO, mark=Mark.COMMIT)
        await house.ear.say(worker, ONE_TWO, at=len(ONE_TWO), mark=Mark.COMMIT)
        await house.ear.wait(Heard, count=2)
        first, second = house.ear.of("s1", Heard)
        assert (first.utterance, first.keep) == (3, len(ONE_TWO))
        assert (second.utterance, second.keep, second.text) == (4, 2 * len(ONE_TWO), "one two")
        progress = await house.ear.wait(Progress)
        await house.ear.until(lambda: house.ear.of("s1", Progress)[-1].keep == second.keep)
        assert progress.keep == 0
        assert second.factor >= 0


async def test_events_of_streams_travel_together(house: House) -> None:
    async with house.worker() as listening:
        for index in range(4):
            await house.ear.lease(f"s{index}")
        before = house.ear.messages
        await house.ear.send("asr-1", *(AudioPart(f"s{index}", 1, 0, ONE_TWO[:1920]) for index in range(4)))
        for index in range(4):
            await house.ear.wait(Progress, f"s{index}")
        assert house.ear.messages == before + 1
        assert listening.busy == 4


async def test_more_streams_than_seats_are_not_taken(house: House) -> None:
    async with house.worker(seats=2):
        await house.ear.lease("s1")
        await house.ear.lease("s2")
        await house.ear.ask("s3")
        await house.ear.send("asr-1", AudioPart("s1", 1, 0, ONE_TWO[:1920]))
        await house.ear.wait(Progress)
        assert house.ear.of("s3", Leased) == []
        assert len(house.broker.messages("parley.listen")) == 1
        await house.ear.send("asr-1", AudioPart("s1", 1, 0, b"", Mark.DROP))
        await house.ear.wait(Leased, "s3")


async def test_what_is_dropped_says_no_word_more(house: House) -> None:
    async with house.worker() as listening:
        worker = await house.ear.lease()
        await house.ear.say(worker, ONE_TWO)
        await house.ear.say(worker, b"", at=len(ONE_TWO), mark=Mark.DROP)
        await house.ear.lease("s2")
        assert listening.busy == 1
    assert house.ear.of("s1", Heard) == []
    assert house.ear.of("s1", Ended) == []


async def test_bytes_that_came_before_are_skipped_and_a_gap_ends_the_lease(house: House) -> None:
    async with house.worker() as listening:
        worker = await house.ear.lease()
        await house.ear.say(worker, ONE_TWO[:9601])
        await house.ear.say(worker, ONE_TWO[3000:], at=3000, mark=Mark.COMMIT)
        assert (await house.ear.wait(Heard)).text == "one two"
        await house.ear.say(worker, ONE_TWO[:1920], at=len(ONE_TWO) + 1)
        fault = (await house.ear.wait(Failed)).fault
        assert fault.retryable
        assert listening.busy == 0


async def test_a_higher_epoch_takes_over_in_the_same_worker(house: House) -> None:
    async with house.worker() as listening:
        worker = await house.ear.lease()
        await house.ear.say(worker, ONE_TWO[:9600])
        await house.ear.lease(epoch=2, at=0)
        assert listening.busy == 1
        await house.ear.say(worker, ONE_TWO, epoch=2, mark=Mark.END)
        await house.ear.wait(Ended, epoch=2)
    assert [last.text for last in house.ear.of("s1", Heard)] == ["one two"]


async def test_a_killed_worker_is_replaced_and_the_transcript_is_the_same(house: House) -> None:
    said = pcm(np.concatenate([speak(["one", "two"], silence_s=1.0), speak(["three", "four"], silence_s=1.0)]))
    hearing = Hearing(by_silence=True)
    async with house.worker("asr-1"):
        worker = await house.ear.lease(hearing=hearing)
        await house.ear.say(worker, said[: len(said) // 4 * 3 // 2 * 2])
        await house.ear.wait(Heard)
        house.broker.kill("asr-1")
        async with house.worker("asr-2"):
            last = house.ear.of("s1", Heard)[-1]
            other = await house.ear.lease(epoch=2, hearing=hearing, at=last.keep, utterance=last.utterance + 1)
            assert other == "asr-2"
            await house.ear.say(other, said[last.keep :], epoch=2, at=last.keep, mark=Mark.END)
            await house.ear.wait(Ended, epoch=2)
    assert [(last.utterance, last.text) for last in house.ear.of("s1", Heard) if last.text] == [
        (0, "one two"),
        (1, "three four"),
    ]


async def test_formats_that_cannot_be_heard_are_refused_for_good(house: House) -> None:
    async with house.worker() as listening:
        wrong = [
            Hearing(rate=96_000),
            Hearing(channels=6),
            Hearing(encoding="mp3"),
            Hearing(engine="other"),
        ]
        for index, hearing in enumerate(wrong):
            await house.ear.ask(f"w{index}", hearing=hearing)
            fault = (await house.ear.wait(Failed, f"w{index}")).fault
            assert (fault.code, fault.retryable) == ("unsupported", False)
            assert fault.message
        assert listening.busy == 0
        assert house.ear.of("w0", Leased) == []


async def test_floats_that_are_none_fail_for_good(house: House) -> None:
    async with house.worker():
        worker = await house.ear.lease(hearing=Hearing(encoding="pcm_f32le"))
        await house.ear.say(worker, ONE_TWO)
        fault = (await house.ear.wait(Failed)).fault
    assert (fault.code, fault.retryable) == ("invalid", False)


async def test_a_flood_fails_alone(house: House) -> None:
    engine = ScriptedTranscriber(ScriptedSettings(factor=0.5))
    async with house.worker(engine=engine, PARLEY_ASR_INBOX="65536", PARLEY_ASR_THREADS="1"):
        for stream in ("s1", "s2"):
            await house.ear.lease(stream)
        await house.ear.send("asr-1", AudioPart("s1", 1, 0, ONE_TWO * 20))
        await house.ear.send("asr-1", AudioPart("s2", 1, 0, ONE_TWO, Mark.END))
        fault = (await house.ear.wait(Failed)).fault
        assert (fault.code, fault.retryable) == ("overloaded", True)
        assert (await house.ear.wait(Heard, "s2")).text == "one two"


async def test_who_sends_a_lot_at_once_does_not_hold_up_the_others(house: House) -> None:
    engine = ScriptedTranscriber(ScriptedSettings(factor=0.05))
    async with house.worker(engine=engine, PARLEY_ASR_THREADS="1"):
        for stream in ("s1", "s2"):
            await house.ear.lease(stream)
        await house.ear.send("asr-1", AudioPart("s1", 1, 0, pcm(speak(["one"] * 60)), Mark.END))
        await house.ear.send("asr-1", AudioPart("s2", 1, 0, ONE_TWO, Mark.END))
        assert (await house.ear.wait(Heard, "s2")).text == "one two"
        assert house.ear.of("s1", Heard) == []
        assert (await house.ear.wait(Heard, "s1")).text == " ".join(["one"] * 60)


class Stuck(ScriptedTranscriber):
    """Does not come back from the words of its first stream before ``release``."""

    def __init__(self) -> None:
        super().__init__(ScriptedSettings())
        self.at_work, self.release = threading.Event(), threading.Event()

    def open(self, hint: Hint) -> ScriptedRecognition:
        self.at_work.set()
        self.release.wait(10)
        return super().open(hint)


async def test_that_somebody_speaks_is_told_while_the_recogniser_is_busy_with_others(house: House) -> None:
    engine = Stuck()
    async with house.worker(engine=engine, PARLEY_ASR_THREADS="1"):
        try:
            for stream in ("s1", "s2"):
                await house.ear.lease(stream)
            await house.ear.send("asr-1", AudioPart("s1", 1, 0, ONE_TWO, Mark.END))
            assert await asyncio.to_thread(engine.at_work.wait, 10)
            await house.ear.send("asr-1", AudioPart("s2", 1, 0, ONE_TWO, Mark.END))
            await house.ear.wait(SpeechStarted, "s2")
            assert house.ear.of("s1", Partial) == house.ear.of("s2", Partial) == []
        finally:
            engine.release.set()
        for stream in ("s1", "s2"):
            await house.ear.wait(Ended, stream)
            assert [type(event).__name__ for event in house.ear.events(stream)].count("SpeechStarted") == 1
            assert [last.text for last in house.ear.of(stream, Heard)] == ["one two"]


async def test_what_is_dropped_while_its_audio_is_worked_on_frees_its_seat(house: House) -> None:
    engine = Stuck()
    async with house.worker(engine=engine) as listening:
        try:
            await house.ear.lease("s1")
            await house.ear.send("asr-1", AudioPart("s1", 1, 0, ONE_TWO))
            assert await asyncio.to_thread(engine.at_work.wait, 10)
            await house.ear.send(
                "asr-1", AudioPart("s1", 1, len(ONE_TWO), ONE_TWO), AudioPart("s1", 1, 0, b"", Mark.DROP)
            )
            await house.ear.lease("s2")
            assert listening.busy == 1
        finally:
            engine.release.set()
        await house.ear.send("asr-1", AudioPart("s2", 1, 0, ONE_TWO, Mark.END))
        assert (await house.ear.wait(Heard, "s2")).text == "one two"
    assert house.ear.of("s1", Heard) == house.ear.of("s1", Partial) == []


class Broken(ScriptedTranscriber):
    """Fails in the middle of speech."""

    abilities = Abilities(languages=("en",))
    error: Exception = EngineError("The recogniser failed.")

    def open(self, _: Hint) -> ScriptedRecognition:
        raise self.error


async def test_an_engine_that_fails_ends_its_stream_and_a_defect_is_not_tried_again(house: House) -> None:
    engine = Broken(ScriptedSettings())
    before = metrics.value(names.STREAM_FAILURES, "engine_failed")
    async with house.worker(engine=engine) as listening:
        worker = await house.ear.lease()
        await house.ear.say(worker, ONE_TWO)
        assert (await house.ear.wait(Failed)).fault.retryable
        engine.error = ZeroDivisionError("a defect")
        await house.ear.lease("s2")
        await house.ear.say(worker, ONE_TWO, stream="s2")
        fault = (await house.ear.wait(Failed, "s2")).fault
        assert not fault.retryable
        assert "defect" not in fault.message
        assert listening.busy == 0
        await house.ear.ask("s3", hearing=Hearing(language="zh-CN"))
        assert (await house.ear.wait(Failed, "s3")).fault.code == "unsupported"
    assert metrics.value(names.STREAM_FAILURES, "engine_failed") == before + 2


class Learning(ScriptedTranscriber):
    """Keeps what it is told of bases."""

    abilities = Abilities(vocabularies=True)

    def __init__(self) -> None:
        super().__init__(ScriptedSettings())
        self.known: dict[Base, tuple[str, list[str]]] = {}
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[list[str]] = asyncio.Queue()

    async def told(self) -> list[str]:
        async with asyncio.timeout(10):
            return await self._told.get()

    def knows(self, base: Base, version: str) -> bool:
        return base in self.known and self.known[base][0] == version

    def prepare(self, base: Base, version: str, texts: Any) -> None:
        self.known[base] = (version, list(texts))
        self._loop.call_soon_threadsafe(self._told.put_nowait, list(texts))


async def test_the_words_of_the_base_are_read_before_its_stream_is_heard(house: House) -> None:
    passage = StoredPassage(id="p1", title="Fencing", text="A fence is a number.", start=0, end=20)
    info = DocumentInfo(path="g.md", title="G", digest="d1", size=20, passages=1, updated_at="")
    await house.store.put_document("default", "mine", info, [passage])
    engine = Learning()
    async with house.worker(engine=engine):
        worker = await house.ear.lease("s1", kb="mine")
        assert engine.known[Base("default", "mine")][1] == ["Fencing\nA fence is a number."]
        await house.ear.lease("s2", kb="nothing there")
        assert list(engine.known) == [Base("default", "mine")]
        await house.ear.say(worker, ONE_TWO, mark=Mark.END)
        await house.ear.wait(Ended)


async def test_a_stream_that_is_asked_for_again_while_its_base_is_made_ready_has_one_seat(house: House) -> None:
    passage = StoredPassage(id="p1", title="T", text="A fence.", start=0, end=8)
    info = DocumentInfo(path="g.md", title="G", digest="d1", size=8, passages=1, updated_at="")
    await house.store.put_document("default", "mine", info, [passage])
    free = threading.Event()

    class Slow(Learning):
        def prepare(self, base: Base, version: str, texts: Any) -> None:
            free.wait(10)
            super().prepare(base, version, texts)

    async with house.worker(engine=Slow(), seats=3, PARLEY_ASR_VOCABULARY_S="10") as listening:
        for epoch in (1, 2, 3):
            await house.ear.ask("s1", epoch=epoch, kb="mine")
        others = [asyncio.create_task(house.ear.lease(stream)) for stream in ("s2", "s3")]
        await others[0]  # it came after all of them
        free.set()
        await asyncio.gather(*others)
        await house.ear.until(lambda: bool(house.ear.of("s1", Leased)))
        assert listening.busy == 3
        assert [part.epoch for part in house.ear.told if part.stream == "s1"] == [3]
        await house.ear.say("asr-1", ONE_TWO, epoch=3, mark=Mark.END)
        await house.ear.wait(Ended)
        await house.ear.lease("s4")


async def test_bases_are_ready_before_anybody_speaks_and_again_after_a_change(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bases, "LOOK_S", 0.01)
    monkeypatch.setattr(bases, "FRESH_S", 0.0)

    async def put(text: str) -> None:
        passage = StoredPassage(id="p1", title="T", text=text, start=0, end=len(text))
        info = DocumentInfo(path="g.md", title="G", digest=text, size=20, passages=1, updated_at="")
        await house.store.put_document("default", "mine", info, [passage])

    engine = Learning()
    await put("first")
    async with house.worker(engine=engine):
        assert await engine.told() == ["T\nfirst"]
        await put("second")
        assert await engine.told() == ["T\nsecond"]


async def test_a_lease_and_its_utterances_are_spans_below_the_gateway_s(house: House, tmp_path: Path) -> None:
    file = tmp_path / "spans.jsonl"
    tracing.setup("asr", "asr-1", CommonSettings(trace_file=str(file)))
    try:
        async with house.worker():
            with tracing.span("turn") as turn:
                worker = await house.ear.lease(headers=tracing.inject)
            await house.ear.say(worker, ONE_TWO, mark=Mark.END)
            await house.ear.wait(Ended)
    finally:
        await tracing.shutdown(1.0)
    rows = {row["name"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    lease, utterance = rows["listen scripted"], rows["utterance"]
    assert lease["parent_id"] == f"{turn.get_span_context().span_id:016x}"
    assert lease["attributes"]["parley.turn.status"] == "done"
    assert utterance["parent_id"] == lease["span_id"]
    assert utterance["attributes"]["parley.words"] == 2
    assert "one two" not in file.read_text(encoding="utf-8")


# ---- time


@pytest.mark.virtual_time
async def test_an_idle_stream_is_let_go(house: House) -> None:
    async with house.worker(PARLEY_ASR_IDLE_S="30") as listening:
        worker = await house.ear.lease()
        await house.ear.say(worker, ONE_TWO[:1920])
        fault = (await house.ear.wait(Failed, limit_s=60)).fault
        assert fault.code == "expired"
        assert listening.busy == 0


@pytest.mark.virtual_time
async def test_an_old_lease_moves_and_is_let_go_after_its_grace(house: House) -> None:
    async with house.worker(PARLEY_ASR_IDLE_S="0", PARLEY_ASR_LEASE_S="1350") as listening:
        worker = await house.ear.lease()
        began = asyncio.get_running_loop().time()
        await house.ear.wait(Moving, limit_s=2000)
        assert 1350 <= asyncio.get_running_loop().time() - began <= 1351
        await house.ear.say(worker, ONE_TWO, mark=Mark.COMMIT)
        await house.ear.wait(Heard)
        assert listening.busy == 1
        await asyncio.sleep(11)
        assert listening.busy == 0
        assert house.broker.messages("parley.listen") == ()


@pytest.mark.virtual_time
async def test_a_gateway_that_is_gone_frees_its_seats(house: House) -> None:
    other = await Ear.open(house.broker.process("gw-2"), "gw-2")
    async with house.worker() as listening:
        worker = await other.lease("s1")
        await house.ear.lease("s2")
        await other.close()
        await asyncio.sleep(20)  # its queue expires
        await house.ear.say(worker, ONE_TWO[:1920], stream="s1")
        await house.ear.say(worker, ONE_TWO, stream="s2", mark=Mark.COMMIT)
        await house.ear.wait(Heard, "s2")
        assert listening.busy == 1


@pytest.mark.virtual_time
async def test_draining_moves_every_stream_and_waits_for_them(house: House) -> None:
    async with house.worker() as listening:
        worker = await house.ear.lease()
        draining = asyncio.create_task(listening.drain(25.0))
        await house.ear.wait(Moving)
        await house.ear.ask("s2")
        await house.ear.say(worker, ONE_TWO, mark=Mark.END)
        await house.ear.wait(Ended)
        await draining
        assert house.ear.of("s2", Leased) == []


@pytest.mark.virtual_time
async def test_a_lost_broker_ends_nothing_that_cannot_go_on(house: House) -> None:
    async with house.worker() as listening:
        await house.ear.lease()
        house.broker.restart()
        await asyncio.sleep(15)
        assert listening.check() is None
        await house.ear.consume()
        worker = await house.ear.lease("s2")
        await house.ear.say(worker, ONE_TWO, stream="s2", mark=Mark.END)
        await house.ear.wait(Ended, "s2")


def test_as_many_streams_are_at_work_as_a_model_decodes_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_asr.workshop.cores", lambda: 1.2)
    for threads, at_least, found in ((0, 640, 640), (3, 640, 3), (0, 1, 3)):
        assert threads_for(threads, at_least) == found
