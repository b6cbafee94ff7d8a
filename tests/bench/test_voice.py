"""The voice benchmark's figures mean what their names say, and its clients and its peer understand each other."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from bench.bars import bars
from bench.peers.plain_listener import Server
from bench.voice import batching, errors
from bench.voice.accuracy import Accuracy, Heard
from bench.voice.answering import Soon, Talker
from bench.voice.batching import ACTIVITY, Batching
from bench.voice.early import Sooner, stock, written
from bench.voice.failover import Failover, gap, later
from bench.voice.load import Level, System, Texts, level
from bench.voice.measure import Voice
from bench.voice.sound import Clip, noisy, synthesised, tones
from bench.voice.speaker import Said, Speaker
from bench.voice.tables import voice
from parley_asr.engines.scripted import ScriptedSettings, ScriptedTranscriber
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower, Query
from parley_runtime.clock import SystemClock
from parley_runtime.store import open_store

pytestmark = pytest.mark.unit

NOTHING = float("nan")


@pytest.mark.parametrize(
    ("said", "heard", "wrong"),
    [
        ("one two three", "one two three", 0),
        ("One, two: three!", "one two three", 0),
        ("one two three", "one three", 1),
        ("one two three", "one two two three", 1),
        ("one two three", "four five six seven", 4),
        ("it's done", "its done", 1),
        ("one two", "", 2),
    ],
)
def test_words_that_are_wrong(said: str, heard: str, wrong: int) -> None:
    assert errors.distance(errors.words(said), errors.words(heard)) == wrong


def test_the_rate_weighs_each_word_alike() -> None:
    assert errors.rate([("one two three four five six", "one two three four five six"), ("two", "too")]) == 1 / 7
    assert errors.rate([("one", "one two three")]) == 2.0
    with pytest.raises(ValueError, match="words that were said"):
        errors.rate([("", "one")])


def test_noise_is_as_loud_as_it_is_said_to_be() -> None:
    clean = tones(6)
    noise = noisy(clean, 20).samples - clean.samples
    loud = clean.samples[np.abs(clean.samples) > 0.01]
    ratio = np.mean(np.square(loud)) / np.mean(np.square(noise))
    assert 10 * np.log10(ratio) == pytest.approx(20, abs=0.5)
    assert (noisy(clean, 20).pcm == noisy(clean, 20).pcm, noisy(clean, 20).text) == (True, clean.text)


async def test_the_projects_own_voices_speak() -> None:
    clips = await synthesised(("what is a gateway",), ("en-us", "en-us+f3"))
    assert [each.name for each in clips] == ["en-us x1", "en-us+f3 x1"]
    assert all(1 < each.seconds < 4 and np.abs(each.samples).max() > 0.1 for each in clips)
    assert clips[0].pcm != clips[1].pcm


async def test_speech_is_found_in_batches_as_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LISTENED", 17)
    monkeypatch.setattr(batching, "ROUNDS", 1)
    found = batching.compare_activity(await synthesised(("what is a gateway",), ("en-us",)))
    assert (found.streams, found.same) == (17, 17)
    assert found.audio_s > 17
    assert found.alone_s > 0 < found.together_s


def test_lag_runs_from_the_end_of_each_word() -> None:
    said = Said(tones(3), began=10.0)
    said.updates = [(10.30, "zero"), (10.70, "zero seven one")]
    assert said.lags_ms(0.2, 0.1) == pytest.approx([100.0, 200.0, -100.0])


def test_a_gap_is_the_longest_wait_for_a_new_word_that_ends_after_the_kill() -> None:
    said = Said(tones(3), began=0.5, final=5.5)
    said.updates = [(1.0, "a"), (1.5, "a b"), (2.1, "a b c"), (3.0, "a b"), (4.0, "a b c d"), (4.2, "a b c d e")]
    assert gap(said, 2.0) == gap(said, 3.5) == pytest.approx(1.9)  # from the new word before the kill
    assert gap(said, 4.1) == pytest.approx(1.3)  # only the last word came
    assert gap(said, 6.0) == 0.0
    undisturbed = Said(tones(3), began=10.5, final=13.0)
    undisturbed.updates = [(11.0, "a"), (11.5, "a b"), (12.0, "a b c"), (12.9, "a b c d e")]
    assert later(said, undisturbed, 2.0) == pytest.approx(1.3)  # what came with others is measured by them
    assert later(said, undisturbed, 6.0) == 0.0


@asynccontextmanager
async def plain() -> AsyncIterator[int]:
    server = Server(ScriptedTranscriber(ScriptedSettings()), 2)
    async with serve(server.speaker, "127.0.0.1", 0, compression=None) as listening:
        yield next(iter(listening.sockets)).getsockname()[1]


async def test_clients_of_a_plain_server_at_once() -> None:
    async with plain() as port:
        system = System("plain server", port, False, {})
        found = await level(system, [tones(2, 1), tones(2, 2)], 2, 1, Texts("scripted"))
    assert (found.said, found.wrong, found.refused, found.wait) == (2, 0, "", 0.0)
    assert 100 < found.first[0] < found.first[1] + 1 < 2000
    assert 0 < found.final[0] < 1000
    assert np.isnan(found.accepted[0])


async def test_a_transcript_that_differs_is_counted() -> None:
    async with plain() as port:
        clip = tones(1, 1)
        wrong = Clip(clip.name, "another word", clip.pcm)
        found = await level(System("plain server", port, False, {}), [wrong], 1, 1, Texts("scripted"))
    assert (found.said, found.wrong) == (1, 1)


async def gateway(socket: ServerConnection) -> None:
    """Hears as many words as there were bytes of audio, in thousands."""
    turn, size = "", 0
    async for message in socket:
        if isinstance(message, bytes):
            size += len(message)
            await socket.send(json.dumps({"type": "transcript.partial", "turn": turn, "text": f"{size // 1000}"}))
            continue
        frame = json.loads(message)
        if frame["type"] == "audio.start":
            turn, size = frame["turn"], 0
        elif frame["type"] == "audio.stop" and size < 1000:
            await socket.send(json.dumps({"type": "error", "turn": turn, "code": "no_speech", "message": "say it"}))
        elif frame["type"] == "audio.stop":
            for kind in ("transcript.final", "turn.accepted", "turn.done"):
                end = {"type": kind, "turn": turn, "text": f"{size}", "status": "completed"}
                await socket.send(json.dumps(end))


async def test_a_client_of_a_gateway_sends_all_audio_and_takes_every_time() -> None:
    async with serve(gateway, "127.0.0.1", 0, compression=None) as listening:
        speaker = await Speaker.open(next(iter(listening.sockets)).getsockname()[1], native=True)
        said = await speaker.say(tones(2))
        assert said.text == str(len(said.clip.pcm))
        assert said.began < said.first <= said.stopped <= said.final <= said.accepted <= said.done
        assert said.stopped - said.began >= said.clip.seconds
        assert [text for _, text in said.updates] == ["3", "6", "9", "12", "15", said.text]
        with pytest.raises(RuntimeError, match="no_speech: say it"):
            await asyncio.wait_for(speaker.say(Clip("", "", bytes(20))), 30)
        speaker.close()


def _level(system: str, streams: int, final: float, cpu: float) -> Level:
    nothing = (NOTHING, NOTHING)
    return Level(
        *(system, "scripted", streams, streams, (200, 210), (final, final), nothing, nothing),
        *(0.0, {"asr": cpu * 1000}, cpu, 0, 1.0, ""),
    )


def test_tables_and_bars() -> None:
    rows = [Heard("sphinx", "m", "recorded", words, 2, 9.0, 0.25 if words else 0.5, 0.4) for words in (False, True)]
    levels = [_level("plain server", 1, 5, 0.01), _level("Parley", 1, 12, 0.03)]
    levels += [_level("plain server", 8, 700, 0.01), _level("Parley", 8, 40, 0.02)]
    killed = Failover("scripted", Said(tones(3)), [0.4, 2.5], [0.3, 2.1], [0.1, 0.2], 1)
    soon = [Soon("to silence", 100.0, [10.0, 140.0, 20.0]), Soon("to the next answer", 0.0, [900.0])]
    accuracy = Accuracy(rows, {"other": "no model"}, "none")
    found = Voice(
        accuracy,
        levels,
        [killed],
        [Batching(*("sherpa", 16, 4, 40.0, 2.0, 0.5, 3)), Batching(ACTIVITY, 16, 32, 90.0, 3.0, 1.5, 32)],
        soon,
        [
            Sooner("tones", "here", True, 2, [1.0, 3.0, 4.0], [601.0, 603.0, 604.0]),
            Sooner("tones", "here", False, 0, [5.0], [605.0]),
        ],
        {"batching": "no engine batches"},
    )
    text = voice(found)
    for part in (
        "| 50.0% | 25.0% |",
        "other cannot be used here: no model",
        "| scripted | 8 | 1 | 1 | +7 / +7 ms |",
        "| 2.00 | 0.50 | 4.00x | 3 of 4 |",
        "| silero, voice activity (CPU time) | 32, 90 s | 16 | 3.00 | 1.50 | 2.00x | 32 of 32 |",
        "| to silence | 3 | 20 | 140 | 140 | 100 |",
        "| tones | here | yes | 2 of 3 | 3.0 | 4.0 | 603 | 604 |",
        "| tones | here | no | 0 of 1 | 5.0 | 5.0 | 605 | 605 |",
    ):
        assert part in text
    assert "Not measured: batching: no engine batches" in text
    assert {bar.what: bar.met for bar in bars({"voice": found})} == {
        "listener killed (scripted): words later than undisturbed, worst": False,
        "listener killed (scripted): transcripts changed": False,
        "final after stop (scripted), one stream, p95": True,
        "to silence": False,
    }


async def test_the_base_of_early_retrieval_holds_what_is_asked_for(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'p.db'}"
    await stock(url, 250)
    store, retriever = await open_store(url), EmbeddedRetriever()
    try:
        await IndexFollower(store, retriever, SystemClock()).catch_up()
    finally:
        await store.aclose()
    assert retriever.size() == 250
    found = await retriever.search("default", "default", Query(tones(4).text), 5)
    assert len(found) == 5
    assert set(tones(4).text.split()) & set(found[0].text.split())


def test_passages_differ_and_are_the_same_every_time() -> None:
    texts = [written(number, random.Random(number)) for number in range(50)]
    assert len(set(texts)) == 50
    assert texts[7] == written(7, random.Random(7))


class Wire:
    """What a client sends, in order."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.enough = asyncio.Event()
        self.on_frame = self.on_bytes = lambda _: None

    def send(self, text: str) -> None:
        self.sent.append(text.encode())

    def send_bytes(self, data: bytes) -> None:
        self.sent.append(data)
        if len(self.sent) == 5:
            self.enough.set()


async def test_a_talker_says_what_it_is_told_between_silences() -> None:
    wire = Wire()
    talker = Talker(wire)
    clip = tones(1)
    talker.say(clip.pcm)
    pacing = asyncio.create_task(talker.pace("talk"))
    await asyncio.wait_for(wire.enough.wait(), 5)
    pacing.cancel()
    start, *frames = wire.sent[:5]
    assert json.loads(start)["hands_free"] is True
    assert {len(frame) for frame in frames} == {3200}
    assert b"".join(frames)[: len(clip.pcm)] == clip.pcm
    assert not any(b"".join(frames)[len(clip.pcm) :])
    assert talker.ended - talker.began == pytest.approx(clip.seconds, abs=1e-6)


def test_a_talker_tells_what_came_after_a_moment() -> None:
    talker = Talker(Wire())
    talker.events = [(1.0, "audio", "a"), (2.0, "answer.flush", "a"), (3.0, "audio", "b"), (4.0, "audio", "b")]
    assert (talker.last("audio", 1.0), talker.last("answer.flush", 2.0), talker.count("audio", 0.5)) == (3.0, 0.0, 3)
