"""Spoken turns over real sockets: a scripted recogniser, a scripted worker, the in-memory broker."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from parley_gateway.config import LimitSettings, TurnSettings
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.words import join
from parley_protocol.client import SUBPROTOCOL_MSGPACK, AudioStart, AudioStop, Hello
from parley_protocol.codec import decode_server, encode_pack
from parley_protocol.events import Delta, Marks, Snapshot, Status
from parley_protocol.faults import CloseCode
from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import metrics, tracing
from parley_testkit.hearing import silence, speech
from parley_testkit.listener import ScriptedListener
from parley_testkit.speaker import Speaker

pytestmark = pytest.mark.unit
MEASURED = ("parley_audio_lease_seconds", "parley_speech_text_seconds", "parley_speech_answer_seconds")
FAST = EarSettings(flush_s=0.005, progress_s=0.3, lease_s=0.3)


def counted(name: str) -> float:
    """A metric's value, read from what is exposed; 0 where it has none yet."""
    lines = metrics.render().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"{name} ")), 0.0)


async def asr(house: Any, name: str = "asr-1") -> ScriptedListener:
    listener = await ScriptedListener.open(house.broker.process(name), name)
    house.stack.push_async_callback(listener.close)
    return listener


async def say(client: Any, turn: str, text: str, *, stop: bool = True, **fields: Any) -> None:
    """``audio.start``, twenty milliseconds a frame, ``audio.stop``."""
    await client.send(type="audio.start", turn=turn, **fields)
    data = speech(text)
    for at in range(0, len(data), 640):
        await client.socket.send(data[at : at + 640])
    if stop:
        await client.send(type="audio.stop")


def kinds(client: Any) -> list[str]:
    return [frame["type"] for frame in client.frames if frame["type"] not in ("welcome", "pong")]


async def test_a_spoken_turn_is_heard_accepted_and_answered(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "what is", stop=False, context={"a": 1}, kb="docs", deadline_ms=9000)
        await client.until("transcript.partial")
        await client.socket.send(speech("a turn"))
        await client.send(type="audio.stop")
        final = await client.until("transcript.final")
        assert final["text"] == "what is a turn"
        job = await house.worker.jobs.get()
        assert (job.question, job.kb, job.context) == ("what is a turn", "docs", {"a": 1})
        assert (job.n, job.marks) == (1, Marks(transcript="what is a turn"))
        assert 8 < job.budget_s <= 9
        await client.until("turn.accepted")
        await house.worker.emit(job, Status(1, "generating"), Delta(2, 0, "It is"))
        await house.worker.finish(job, "It is", 3)
        done = await client.until("turn.done")
        assert done["text"] == "It is"
    assert client.seen["t1"].next_seq == done["seq"] + 1
    order = kinds(client)
    assert order.index("transcript.partial") < order.index("transcript.final") < order.index("turn.accepted")
    assert order.count("speech.started") == order.count("speech.stopped") == 1


async def test_a_spoken_turn_is_measured_and_traced(house: Any, tmp_path: Path) -> None:
    tracing.setup("gateway", "gateway-1", CommonSettings(trace_file=str(tmp_path / "spans.jsonl")))
    try:
        before = [counted(f"{name}_count") for name in MEASURED]
        gateway = await house.gateway(ears=FAST)
        listener = await asr(house)
        async with house.client(gateway) as client:
            await say(client, "t1", "measure me")
            job = await house.worker.jobs.get()
            await house.worker.answer(job, "Done.")
            await client.until("turn.done")
        assert [counted(f"{name}_count") - was for name, was in zip(MEASURED, before, strict=True)] == [1, 1, 1]
    finally:
        await tracing.shutdown(1.0)
    spans = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    (stream,) = [span for span in spans if span["name"] == "stream"]
    (turn,) = [span for span in spans if span["name"] == "turn"]
    assert (turn["trace_id"], turn["parent_id"]) == (stream["trace_id"], stream["span_id"])
    assert stream["trace_id"] in listener.headers[0]["traceparent"]
    assert stream["trace_id"] in house.worker.headers[0]["traceparent"]


async def test_partials_grow_and_the_last_one_is_the_text(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "one two", stop=False)
        while (await client.until("transcript.partial"))["text"] != "one two":
            pass
        await client.socket.send(speech("three"))
        await client.send(type="audio.stop")
        assert (await client.until("transcript.final"))["text"] == "one two three"
        partials = [frame["text"] for frame in client.frames if frame["type"] == "transcript.partial"]
        assert all("one two three".startswith(text) for text in partials)
        assert partials == sorted(partials, key=len)


async def test_without_words_there_is_no_turn_and_its_id_is_free(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await client.send(type="audio.start", turn="t1")
        await client.socket.send(silence(500))
        await client.send(type="audio.stop")
        error = await client.until("error")
        assert (error["code"], error["turn"], error["retryable"]) == ("no_speech", "t1", False)
        assert "microphone" in error["message"]
        await say(client, "t1", "now it works")
        assert (await client.until("transcript.final"))["text"] == "now it works"
        job = await house.worker.jobs.get()
        assert job.question == "now it works"


async def test_a_recogniser_killed_in_mid_sentence_is_not_noticed(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    both = [await asr(house, "asr-1"), await asr(house, "asr-2")]
    async with house.client(gateway) as client:
        await say(client, "t1", "who keeps", stop=False)
        while (await client.until("transcript.partial"))["text"] != "who keeps":
            pass
        await next(each for each in both if each.held).kill()
        await client.socket.send(speech("the turn"))
        await client.send(type="audio.stop")
        assert (await client.until("transcript.final"))["text"] == "who keeps the turn"


async def test_what_was_said_to_its_end_is_asked_though_the_socket_goes(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    listener = await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "do not forget me", stop=False)
        while (await client.until("transcript.partial"))["text"] != "do not forget me":
            pass
        listener.silent = True  # nothing is heard before the socket has gone
        await client.send(type="audio.stop")
        await client.send(type="ping")
        await client.until("pong")
        session, position, seen = client.session, client.position, client.seen
    await asr(house, "asr-2")
    job = await house.worker.jobs.get()
    assert job.question == "do not forget me"
    async with house.client(gateway, greet=False, known=seen) as again:
        await again.hello(session=session, position=position, pending=["t1"])
        await house.worker.emit(job, Delta(1, 0, "I do not"))
        await house.worker.finish(job, "I do not", 2)
        done = await again.until("turn.done")
        assert done["text"] == "I do not"
        assert (await_final := [frame for frame in again.frames if frame["type"] == "transcript.final"])
        assert await_final[0]["text"] == "do not forget me"


async def test_a_client_at_another_gateway_reads_the_transcript_there(house: Any) -> None:
    first = await house.gateway("gateway-1", ears=FAST)
    second = await house.gateway("gateway-2", ears=FAST)
    await asr(house)
    async with house.client(first) as client:
        await say(client, "t1", "over there")
        await client.until("turn.accepted")
        session = client.session
    job = await house.worker.jobs.get()
    async with house.client(second, greet=False) as again:
        await again.hello(session=session, pending=["t1"])
        await house.worker.heard.get()
        elsewhere = msgspec.structs.replace(job, reply_to=("gateway-2",))
        await house.worker.emit(elsewhere, Snapshot(1, job.marks, ""))
        assert (await again.until("transcript.final"))["text"] == "over there"


async def test_a_socket_that_goes_in_mid_sentence_leaves_nothing(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    listener = await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "half a", stop=False)
        await client.until("transcript.partial")
        session = client.session
    await listener.until(lambda: not listener.held)
    async with house.client(gateway, greet=False) as again:
        await again.hello(session=session)
        await say(again, "t1", "a whole sentence")
        assert (await again.until("transcript.final"))["text"] == "a whole sentence"
        assert (await house.worker.jobs.get()).question == "a whole sentence"


async def test_a_spoken_turn_waits_for_the_one_before_and_holds_up_the_next(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await client.start("t0", "typed")
        job = await house.worker.jobs.get()
        await say(client, "t1", "spoken")
        await client.start("t2", "typed later")
        await house.worker.answer(job, "first")
        await client.until("turn.done", "t0")
        assert (await client.until("transcript.final", "t1"))["text"] == "spoken"
        second = await house.worker.jobs.get()
        assert second.question == "spoken"
        await house.worker.finish(second, "", 1)
        await client.until("turn.done", "t1")
        assert (await house.worker.jobs.get()).question == "typed later"
    turns = [frame["turn"] for frame in client.frames if "seq" in frame]
    assert turns == sorted(turns), "frames of one turn, then of the next"


async def test_interrupting_ends_the_turn_before(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await client.start("t0", "typed")
        await house.worker.jobs.get()
        await say(client, "t1", "no wait", interrupt=True)
        assert (await client.until("turn.done", "t0"))["status"] == "cancelled"
        assert (await house.worker.jobs.get()).question == "no wait"


async def test_cancelling_what_is_being_said(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    listener = await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "never mind", stop=False)
        await client.until("transcript.partial")
        await client.send(type="turn.cancel", turn="t1")
        error = await client.until("error")
        assert (error["code"], error["turn"]) == ("cancelled", "t1")
        await listener.until(lambda: not listener.held)
        await client.socket.send(speech("more of it"))  # on its way already: dropped without a word
        await client.send(type="audio.stop")
        await say(client, "t2", "something else")
        assert (await client.until("transcript.final"))["turn"] == "t2"
        assert kinds(client).count("error") == 1


async def test_a_worker_that_is_missing_is_told_in_time(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    async with house.client(gateway) as client:
        await say(client, "t1", "is anybody there")
        error = await client.until("error")
        assert (error["code"], error["turn"], error["retryable"]) == ("overloaded", "t1", True)
        assert error["retry_after_ms"] > 0


class TestBadInput:
    async def test_audio_without_a_start(self, house: Any) -> None:
        gateway = await house.gateway()
        async with house.client(gateway) as client:
            await client.socket.send(b"\x00" * 640)
            assert "audio.start" in (await client.until("error"))["message"]
            await client.send(type="audio.stop")
            assert (await client.until("error"))["code"] == "invalid"

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"format": {"encoding": "mp3"}}, "unsupported"),
            ({"format": {"rate": 7}}, "invalid"),
            ({"format": {"channels": 6}}, "invalid"),
            ({"format": {"rate": "fast"}}, "bad_frame"),
            ({"turn": ""}, "invalid"),
            ({"turn": "x" * 65}, "invalid"),
            ({"deadline_ms": 0}, "invalid"),
            ({"kb": "k" * 65}, "invalid"),
            ({"silence_ms": 1}, "invalid"),
            ({"context": {"n": 2**80}}, "invalid"),
        ],
    )
    async def test_a_start_that_cannot_be_taken(self, house: Any, fields: dict[str, Any], code: str) -> None:
        gateway = await house.gateway(ears=FAST)
        async with house.client(gateway) as client:
            await client.send(**({"type": "audio.start", "turn": "t1"} | fields))
            assert (await client.until("error"))["code"] == code
            await asr(house)
            await say(client, "t1", "all is well")
            assert (await client.until("transcript.final"))["text"] == "all is well"

    async def test_a_second_stream_and_a_used_id(self, house: Any) -> None:
        gateway = await house.gateway(ears=FAST)
        await asr(house)
        async with house.client(gateway) as client, house.client(gateway, greet=False) as other:
            await other.hello(session=client.session)
            await client.send(type="audio.start", turn="t1")
            await client.send(type="audio.start", turn="t2")
            assert "audio.stop" in (await client.until("error"))["message"]
            await other.send(type="audio.start", turn="t1")
            assert (await other.until("error"))["code"] == "conflict"
            await other.start("t1", "typed")
            assert (await other.until("error"))["code"] == "conflict"

    async def test_a_flood_ends_the_stream_and_not_the_socket(self, house: Any) -> None:
        gateway = await house.gateway(ears=EarSettings(flush_s=0.005, ring=65_536, lease_s=5))
        async with house.client(gateway) as client:
            await client.send(type="audio.start", turn="t1")
            for _ in range(10):
                await client.socket.send(bytes(60_000))
            error = await client.until("error")
            assert (error["code"], error["turn"]) == ("overloaded", "t1")
            await client.send(type="audio.stop")
            await client.send(type="ping")
            await client.until("pong")
            assert kinds(client) == ["error"]  # what was on its way is dropped without a word

    async def test_fifty_frames_a_second_are_no_flood(self, house: Any) -> None:
        gateway = await house.gateway(ears=FAST, limits=LimitSettings(connect_rate=0, message_rate=1, message_burst=4))
        await asr(house)
        async with house.client(gateway) as client:
            await say(client, "t1", " ".join(["word"] * 20))  # a hundred frames
            assert (await client.until("transcript.final"))["text"] == " ".join(["word"] * 20)

    async def test_a_frame_too_large_and_odd_bytes(self, house: Any) -> None:
        gateway = await house.gateway(ears=FAST)
        await asr(house)
        async with house.client(gateway) as client:
            await client.send(type="audio.start", turn="t1")
            await client.socket.send(bytes(300_000))
            assert (await client.until("error"))["code"] == "too_large"
            data = speech("odd pieces")
            for at in range(0, len(data), 333):
                await client.socket.send(data[at : at + 333])
            await client.socket.send(b"\x01")
            await client.send(type="audio.stop")
            assert (await client.until("transcript.final"))["text"] == "odd pieces"

    async def test_a_client_that_sends_and_never_reads(self, house: Any) -> None:
        limits = LimitSettings(connect_rate=0, outbox=8192)
        gateway = await house.gateway(ears=FAST, limits=limits)
        await asr(house)
        async with house.client(gateway) as deaf, house.client(gateway) as other:
            for number in range(6):  # sixty words, whose partials nobody takes
                await say(deaf, f"t{number}", " ".join(["word"] * 10))
                await say(other, f"u{number}", "all is well")
                assert (await other.until("transcript.final"))["text"] == "all is well"
                for _ in range(2):
                    await house.worker.answer(await house.worker.jobs.get(), "So.")
                await other.until("turn.done", f"u{number}")
            waits = [connection.outbox._bytes for connection in gateway.hub.connections.values()]
            assert max(waits) <= limits.outbox
            await deaf.until("turn.done", "t5")  # and when it reads after all, it has missed nothing
            assert deaf.seen["t0"].done is not None

    async def test_more_turns_than_a_session_may_have(self, house: Any) -> None:
        gateway = await house.gateway(ears=FAST, turns=TurnSettings(queued=1))
        listener = await asr(house)
        async with house.client(gateway) as client:
            await client.start("t0", "typed")
            await client.until("turn.accepted")
            await client.send(type="audio.start", turn="t1")
            assert (await client.until("error"))["code"] == "overloaded"
            await listener.until(lambda: not listener.held and gateway.hub.ears.streams == 0)


async def test_msgpack_sockets_send_audio_as_a_bin(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    url = f"ws://127.0.0.1:{gateway.port}/v1/connect"
    async with connect(url, subprotocols=[SUBPROTOCOL_MSGPACK]) as socket:  # type: ignore[list-item]
        await socket.send(encode_pack(Hello()))
        await socket.send(msgspec.msgpack.encode(b"early"))
        await socket.send(encode_pack(AudioStart(turn="t1")))
        await socket.send(msgspec.msgpack.encode(speech("packed")) + b"rest")
        await socket.send(msgspec.msgpack.encode(speech("packed well")))
        await socket.send(encode_pack(AudioStop()))
        frames = []
        while True:
            frames.append(decode_server(await socket.recv()))
            if type(frames[-1]).__name__ == "TranscriptFinal":
                break
    assert frames[-1].text == "packed well"  # type: ignore[union-attr]
    assert [frame.code for frame in frames if type(frame).__name__ == "ErrorFrame"] == ["bad_frame", "bad_frame"]  # type: ignore[union-attr]


async def test_a_gateway_that_drains_lets_what_is_said_be_heard(house: Any) -> None:
    gateway = await house.gateway(ears=FAST)
    await asr(house)
    async with house.client(gateway) as client:
        await say(client, "t1", "let me finish", stop=False)
        await client.until("transcript.partial")
        gateway.hub.spawn(gateway.drain(3.0))
        await client.until("draining")
        await client.send(type="audio.stop")
        assert (await client.until("transcript.final"))["text"] == "let me finish"
        await house.worker.answer(await house.worker.jobs.get())
        assert await client.closed() == CloseCode.DRAINING


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("what is", " a turn "), "what is a turn"),
        (("什么是", "轮次"), "什么是轮次"),
        (("", "so", ""), "so"),
        (("turn", "是什么"), "turn是什么"),
        (("？", "yes"), "？yes"),
    ],
)
def test_pieces_are_joined_as_their_script_asks(pieces: tuple[str, ...], text: str) -> None:
    assert join(*pieces) == text


@pytest.mark.parametrize("spoke", [False, True])
async def test_an_answer_is_not_spoken_to_a_socket_that_went_before_its_question_was_heard(
    house: Any, spoke: bool
) -> None:
    gateway = await house.gateway(ears=FAST)
    listener = await asr(house)
    voice = await Speaker.open(house.broker)
    house.stack.push_async_callback(voice.control.aclose)
    async with house.client(gateway) as client:
        if spoke:  # its mouth is there, and closed with the socket
            await client.start("t0", speak={})
            await house.worker.answer(await house.worker.jobs.get(), "Hi.")
            await client.until("answer.spoken")
        listener.silent = True
        await say(client, "t1", "what is a turn", speak={})
        await client.send(type="ping")
        await client.until("pong")
    while gateway.hub.connections:
        gateway.hub.left.clear()
        await gateway.hub.left.wait()
    listener.silent = False  # another lease is asked for, and heard
    said = len(voice.jobs)
    await house.worker.answer(await house.worker.jobs.get(), "To nobody.")
    async with house.client(gateway) as client:
        await client.start("t2", speak={})
        await house.worker.answer(await house.worker.jobs.get(), "To somebody.")
        await client.until("answer.spoken")
    assert [job.text for job in voice.jobs[said:]] == ["To somebody."]


async def test_an_answer_whose_turn_is_kept_no_longer_can_be_silenced(house: Any) -> None:
    gateway = await house.gateway(turns=TurnSettings(resume_bytes=0))
    voice = await Speaker.open(house.broker)
    house.stack.push_async_callback(voice.control.aclose)
    async with house.client(gateway) as client:
        await client.start("t1", speak={})
        await house.worker.answer(await house.worker.jobs.get(), "This takes a while to be said to its end.")
        await client.until("turn.done")
        await client.until("answer.audio")
        await client.send(type="turn.cancel", turn="t1")
        assert (await client.until("answer.flush"))["ended"]
