"""Audio of documented clients: D2's recordings and spoken answers, D4's streams."""

import asyncio
import base64
import io
import json
import wave
from collections.abc import AsyncIterator

import pytest

from parley_gateway.dialects import tutor_frames
from parley_gateway.voice.aloud import wav
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_gateway.voice.recording import read_recording
from parley_protocol.audio import Hearing
from parley_protocol.events import Delta, TurnStatus
from parley_protocol.faults import ProtocolError
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.speaker import Speaker, sound

from .test_dialect_tutor import begin, receive, student
from .test_realtime_asr import asr

pytestmark = pytest.mark.unit
FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3)


@pytest.fixture
async def listener(house) -> AsyncIterator[ScriptedListener]:
    opened = await ScriptedListener.open(house.broker.process("asr-1"), "asr-1")
    yield opened
    await opened.close()


@pytest.fixture
async def voice(house) -> AsyncIterator[Speaker]:
    worker = await Speaker.open(house.broker)
    yield worker
    await worker.control.aclose()


def wave_file(pcm: bytes, rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm)
    return made.getvalue()


def frame(audio: bytes, **fields) -> str:
    return json.dumps({"type": "audio", "content": base64.b64encode(audio).decode(), **fields})


# --- D2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_wave", [True, False], ids=["wav", "pcm"])
async def test_a_recording_is_heard_answered_and_spoken(house, listener, voice, as_wave):
    gateway = await house.gateway(ears=FAST)
    async with student(gateway, await begin(gateway)) as socket:
        said = speech("what is a fence", Hearing(rate=8000))
        await socket.send(frame(wave_file(said, 8000)) if as_wave else frame(said, sample_rate=8000))
        assert await receive(socket) == {"type": "transcript", "content": "what is a fence"}
        job = await house.worker.jobs.get()
        assert job.question == "what is a fence"
        await house.worker.answer(job, "One here. ", "Two [1].")
        assert await receive(socket) == {"type": "text", "content": "One here. Two [1]."}
        files = [await receive(socket), await receive(socket)]
    assert [(file["type"], file["index"], file["final"]) for file in files] == [("audio", 0, False), ("audio", 1, True)]
    for file, text in zip(files, ("One here.", "Two ."), strict=True):
        with wave.open(io.BytesIO(base64.b64decode(file["content"]))) as opened:
            assert (opened.getframerate(), opened.getnchannels(), opened.getsampwidth()) == (24_000, 1, 2)
            assert opened.readframes(10**9) == sound(text, 24_000)


async def test_a_long_answer_is_spoken_to_its_end_however_much_is_there_at_once(house, listener, voice):
    """More than may wait for a client comes in one moment."""
    gateway = await house.gateway(ears=FAST, mouths=MouthSettings(ahead=4, ahead_s=60))
    sentences = [f"{number} {'tells us more than ever ' * 8}." for number in range(6)]
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(frame(speech("tell me all")))
        await receive(socket)
        await house.worker.answer(await house.worker.jobs.get(), " ".join(sentences))
        assert (await receive(socket))["type"] == "text"
        files = [await receive(socket)]
        while not files[-1].get("final"):
            files.append(await receive(socket))
    assert [file["index"] for file in files] == list(range(len(files)))
    heard = b"".join(base64.b64decode(file["content"])[44:] for file in files)
    assert heard == b"".join(sound(text, 24_000) for text in sentences)
    assert len(heard) > 2 * 1024 * 1024  # as base64: far more than a client may leave waiting


async def test_recordings_and_texts_are_answered_in_their_order(house, listener, voice):
    gateway = await house.gateway(ears=FAST)
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(frame(speech("first")))
        await socket.send(json.dumps({"type": "text", "content": "second"}))
        for question in ("first", "second"):
            job = await house.worker.jobs.get()
            assert job.question == question
            await house.worker.answer(job, f"{question}.")
        kinds = [(await receive(socket))["type"] for _ in range(4)]
    assert kinds == ["transcript", "text", "audio", "text"]


async def test_silence_says_that_no_words_were_heard(house, listener):
    gateway = await house.gateway(ears=FAST)
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(frame(silence(500)))
        assert await receive(socket) == {"type": "error", "content": tutor_frames.NO_WORDS}


async def test_an_answer_that_nobody_can_speak_is_text_and_an_error(house, listener):
    gateway = await house.gateway(ears=FAST, mouths=MouthSettings(ask_s=0.05, attempts=1))
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(frame(speech("hello")))
        assert (await receive(socket))["type"] == "transcript"
        await house.worker.answer(await house.worker.jobs.get(), "Hi. ")
        assert await receive(socket) == {"type": "text", "content": "Hi. "}
        assert await receive(socket) == {"type": "audio", "content": "", "index": 0, "final": True}
        assert await receive(socket) == {"type": "error", "content": tutor_frames.NO_VOICE}


async def test_a_failed_turn_is_an_error_and_no_sound(house, listener, voice):
    gateway = await house.gateway(ears=FAST)
    async with student(gateway, await begin(gateway)) as socket:
        await socket.send(frame(speech("hello")))
        assert (await receive(socket))["type"] == "transcript"
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "half"))
        await house.worker.tell(job, TurnStatus.FAILED, "half", 1)
        assert (await receive(socket))["type"] == "error"
        await socket.send(json.dumps({"type": "text", "content": "again"}))
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["content"] == "yes"


BAD_FILES = {
    "not base64": ({"content": "%%%"}, "base64"),
    "riff of another kind": ({"content": base64.b64encode(b"RIFF\0\0\0\0AVI \0\0\0\0").decode()}, "WAV"),
    "cut off": ({"content": base64.b64encode(wave_file(bytes(100))[:30]).decode()}, "cut off"),
    "24 bits": ({"content": base64.b64encode(wave_file(bytes(300), width=3)).decode()}, "24 bits"),
    "odd": ({"content": base64.b64encode(bytes(31)).decode()}, "odd"),
    "rate": ({"content": base64.b64encode(bytes(30)).decode(), "sample_rate": 5}, "sample_rate"),
    "rate of a file": ({"content": base64.b64encode(wave_file(bytes(30), rate=4000)).decode()}, "rate"),
}


async def test_recordings_that_cannot_be_read_are_said(house, listener):
    gateway = await house.gateway(ears=FAST)
    async with student(gateway, await begin(gateway)) as socket:
        for fields, word in BAD_FILES.values():
            await socket.send(json.dumps({"type": "audio", **fields}))
            answer = await receive(socket)
            assert answer["type"] == "error"
            assert word in answer["content"]
    assert listener.listens == []


def test_wave_files_of_all_kinds():
    pcm = bytes(range(100))
    assert read_recording(wave_file(pcm, 22_050, 2), None) == (
        Hearing(rate=22_050, channels=2, partials=False),
        pcm,
    )
    streamed = bytearray(wave_file(pcm))
    streamed[40:44] = bytes(4)
    assert read_recording(bytes(streamed), None)[1] == pcm
    streamed[40:44] = b"\xff\xff\xff\xff"
    assert read_recording(bytes(streamed), None)[1] == pcm
    extensible = bytearray(wave_file(pcm))
    extensible[16:20] = (40).to_bytes(4, "little")
    extensible[20:22] = b"\xfe\xff"
    extensible[36:36] = b"\x16\0\x10\0\0\0\0\0" + b"\x01\0" + bytes(14)
    assert read_recording(bytes(extensible), None) == (Hearing(partials=False), pcm)
    assert read_recording(pcm, 8000) == (Hearing(rate=8000, partials=False), pcm)
    with pytest.raises(ProtocolError):
        read_recording(b"RIFF", None)
    assert wav(pcm, 24_000) == wave_file(pcm, 24_000)


# --- D4 -------------------------------------------------------------------------------------------------------------

CONFIG = {"type": "audio_config", "encoding": "pcm_s16le", "sample_rate": 16_000, "channels": 1}


async def stream(client, pcm: bytes) -> None:
    for at in range(0, len(pcm), 3200):
        await client.socket.send(pcm[at : at + 3200])


async def finals(client) -> dict:
    """The next final transcript; partial ones before it only grow into it."""
    while True:
        answer = await client.next()
        assert answer["type"] == "transcript"
        if answer["is_final"]:
            return answer


async def test_audio_is_transcribed_and_its_questions_answered(house, listener):
    gateway = await house.gateway(ears=FAST)
    async with asr(gateway) as client:
        await client.send(**CONFIG)
        await stream(client, speech("what is a fence") + silence(1000))
        assert await finals(client) == {"type": "transcript", "text": "what is a fence", "is_final": True}
        assert await client.short(2) == ["analyzing", "querying_rag"]
        job = await house.worker.jobs.get()
        assert job.question == "what is a fence"
        await house.worker.answer(job, "A number.")
        assert await client.short(2) == [(0, "A number.", False), (1, "", True)]
        assert await client.short(2) == ["idle", "listening"]
        await stream(client, speech("good morning") + silence(1000))
        assert (await finals(client))["text"] == "good morning"
        assert await client.short(1) == ["listening"]
        await client.say("typed all the same", False)
        assert await client.short(1) == ["ack"]
    assert len(listener.listens) == 1
    assert listener.listens[0].hearing.by_silence


async def test_nobody_listens_is_said_and_texts_go_on(house):
    gateway = await house.gateway(ears=FAST)
    async with asr(gateway) as client:
        await client.send(**CONFIG)
        assert await client.short(1) == ["OVERLOADED"]
        await client.socket.send(bytes(3200))
        assert await client.short(1) == ["INVALID_FIELD"]
        await client.say("hm", False)
        assert await client.short(1) == ["ack"]


async def test_a_paused_assistant_hears_and_does_not_answer(house, listener):
    gateway = await house.gateway(ears=FAST)
    async with asr(gateway) as client:
        await client.send(**CONFIG)
        await client.control("pause")
        assert await client.short(1) == ["paused"]
        await stream(client, speech("what is a fence") + silence(1000))
        assert (await finals(client))["text"] == "what is a fence"
        await client.control("resume")
        assert await client.short(1) == ["listening"]
        assert house.worker.jobs.all == []


async def test_another_format_is_another_stream_and_a_lost_socket_lets_go(house, listener):
    gateway = await house.gateway(ears=FAST)
    async with asr(gateway) as client:
        await client.send(**CONFIG)
        await stream(client, speech("one two"))
        await client.next()
        await client.send(**CONFIG | {"sample_rate": 8000})
        await client.socket.send(speech("three", Hearing(rate=8000)) + silence(1000, Hearing(rate=8000)))
        while (answer := await client.next())["text"] != "three" or not answer["is_final"]:
            pass
    async with asyncio.timeout(10):
        await listener.until(lambda: not listener.held)
