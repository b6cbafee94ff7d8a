"""Realtime ASR text over real sockets: whole flows through a broker, with a worker that does what the test says."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from parley_gateway.config import AccessSettings, LimitSettings, TurnSettings
from parley_gateway.dialects.settings import AsrSettings
from parley_protocol.control import Stop
from parley_protocol.events import Delta, Fault, Snapshot, Status, Terminal, TurnStatus
from parley_protocol.work import Record
from parley_runtime.answering import AsrEngineChoice, EngineChoice

from .conftest import LIMIT_S

pytestmark = pytest.mark.unit

PATH = "/ws/realtime-asr"


class Asr:
    """A client of the documented system."""

    def __init__(self, socket):
        self.socket = socket

    async def say(self, text, final=True, **fields):
        await self.send(type="asr_chunk", text=text, is_final=final, **fields)

    async def control(self, action):
        await self.send(type="control", action=action)

    async def send(self, **frame):
        await self.socket.send(json.dumps(frame, ensure_ascii=False))

    async def next(self):
        async with asyncio.timeout(LIMIT_S):
            return json.loads(await self.socket.recv())

    async def short(self, count):
        """The next frames, in short."""
        return [short(await self.next()) for _ in range(count)]


def short(frame):
    match frame["type"]:
        case "status":
            return frame["stage"]
        case "answer":
            return (frame["stream_index"], frame["content"], frame["final"])
        case "error":
            return frame["code"]
        case kind:
            return kind


@asynccontextmanager
async def asr(gateway, greet=True, **options):
    async with connect(f"ws://127.0.0.1:{gateway.port}{PATH}", **options) as socket:
        client = Asr(socket)
        if greet:
            assert await client.short(2) == ["ack", "listening"]
        yield client


BEGUN = ["ack", "analyzing", "querying_rag"]


async def test_a_question_is_answered_as_documented(house):
    gateway = await house.gateway()
    async with asr(gateway, greet=False) as client:
        hello = await client.next()
        session = hello.pop("session_id")
        assert hello == {"type": "ack", "received_type": "connect", "message": "connected"}
        assert len(session) == 36
        assert await client.next() == {"type": "status", "stage": "listening"}
        await client.say("今天的", False)
        assert await client.next() == {"type": "ack", "received_type": "asr_chunk", "session_id": session}
        await client.say("今天的水温是多少")
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        assert (job.question, job.kb) == ("今天的水温是多少", "default")
        await house.worker.emit(job, Status(0, "generating"), Delta(1, 0, "二十二"))
        assert await client.next() == {"type": "answer", "stream_index": 0, "content": "二十二", "final": False}
        await house.worker.emit(job, Delta(2, 3, "度"))
        assert await client.short(1) == [(1, "度", False)]
        await house.worker.finish(job, "二十二度", 3)
        assert await client.next() == {"type": "answer", "stream_index": 2, "content": "", "final": True}
        assert await client.short(2) == ["idle", "listening"]


async def test_what_is_no_question_is_listened_to(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("好的好的")
        assert await client.short(2) == ["ack", "listening"]
        await client.say("什么是", False)
        await client.say("没什么")
        assert await client.short(3) == ["ack", "ack", "listening"]
        assert house.worker.jobs.all == []


async def test_frames_sent_before_the_greeting_is_read_are_handled_in_order(house):
    gateway = await house.gateway()
    async with asr(gateway, greet=False) as client:
        for number in range(5):
            await client.say(f"text {number}", False, session_id=f"s{number}")
        frames = [await client.next() for _ in range(7)]
        assert [short(frame) for frame in frames] == ["ack", "listening", *["ack"] * 5]
        assert [frame["session_id"] for frame in frames[2:]] == [f"s{number}" for number in range(5)]


async def test_a_session_of_the_client_goes_on_at_another_gateway(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    keys = []
    for gateway, fields in ((one, {"session_id": "u1"}), (two, {"session_id": "u1"}), (two, {"session_id": "u2"})):
        async with asr(gateway) as client:
            await client.say("what is a fence", **fields)
            job = await house.worker.jobs.get()
            keys.append(job.key.session)
            await house.worker.answer(job, "a number")
            assert (await client.short(7))[-2:] == ["idle", "listening"]
    assert keys[0] == keys[1] != keys[2]


async def test_questions_during_an_answer_wait_and_their_number_is_bounded(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is number 0")
        assert await client.short(3) == BEGUN
        for number in range(1, 10):
            await client.say(f"what is number {number}")
        assert await client.short(10) == [*["ack"] * 9, "OVERLOADED"]
        for number in range(9):
            job = await house.worker.jobs.get()
            assert job.question == f"what is number {number}"
            await house.worker.answer(job, f"it is {number}")
            if number:
                assert await client.short(2) == BEGUN[1:]
            assert await client.short(4) == [(0, f"it is {number}", False), (1, "", True), "idle", "listening"]


async def test_pause_lets_the_answer_end_and_takes_nothing_more(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        await client.control("pause")
        await client.say("what is a lock")
        ack = await client.next()
        assert (ack["type"], ack["message"]) == ("ack", "paused")
        await house.worker.answer(await house.worker.jobs.get(), "a number")
        assert await client.short(4) == [(0, "a number", False), (1, "", True), "idle", "paused"]
        await client.control("resume")
        assert await client.short(1) == ["listening"]
        await client.say("what is a lock")
        assert await client.short(3) == BEGUN
        assert (await house.worker.jobs.get()).question == "what is a lock"


async def test_stop_cancels_the_turn_and_the_worker_is_told(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        await client.say("what is a lock")
        assert await client.short(1) == ["ack"]
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "a number"))
        assert await client.short(1) == [(0, "a number", False)]
        await client.control("stop")
        assert await client.short(2) == [(1, "", True), "idle"]
        record = await house.worker.records.get(Record)
        assert (record.status, record.text, record.forced) == (TurnStatus.CANCELLED, "a number", True)
        assert (await house.worker.heard.get(Stop)).key == job.key
        await house.worker.emit(job, Delta(1, 8, " of a run"))  # too late
        await client.control("resume")
        assert await client.short(1) == ["listening"]
        await client.say("what is a run")
        assert await client.short(3) == BEGUN
        assert (await house.worker.jobs.get()).question == "what is a run"


async def test_stop_of_a_turn_whose_end_is_not_stored_yet(house, monkeypatch):
    monkeypatch.setattr("parley_gateway.dialects.asr.answering.STOP_S", 0.05)
    house.worker.record = False
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        await client.control("stop")
        assert await client.short(2) == [(0, "", True), "idle"]
        await house.worker.close(await house.worker.records.get(Record))
        await house.worker.emit(job, Delta(0, 0, "late"))
        await client.say("hm", False)
        assert await client.short(2) == ["ack", "listening"]


async def test_stop_right_behind_the_question(house):
    gateway = await house.gateway()
    async with asr(gateway, greet=False) as client:
        await client.say("what is a fence")
        await client.control("stop")
        await client.say("yes")
        assert await client.short(9) == ["ack", "listening", *BEGUN, (0, "", True), "idle", "ack", "listening"]


async def test_an_answer_that_starts_anew_says_so_and_counts_on(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "A letter"))
        assert await client.short(1) == [(0, "A letter", False)]
        claim = await house.store.claim_later(job.key, base=job.base)
        await house.worker.emit(job, Snapshot(1, job.marks, "A number"), fence=claim.fence)
        frame = await client.next()
        assert frame == {
            "type": "answer",
            "stream_index": 1,
            "content": "A number",
            "final": False,
            "restarted": True,
        }
        await house.worker.finish(job, "A number", 1, fence=claim.fence)
        assert await client.short(3) == [(2, "", True), "idle", "listening"]


@pytest.mark.parametrize(
    ("status", "fault", "code", "message"),
    [
        (TurnStatus.FAILED, Fault("engine_failed", "Dify API HTTP 错误 401"), "RAG_FAILED", "Dify API HTTP 错误 401"),
        (TurnStatus.FAILED, Fault("engine_timeout", "调用失败"), "RAG_TIMEOUT", "调用失败"),
        (TurnStatus.EXPIRED, Fault("expired", "too late"), "RAG_TIMEOUT", "回答超时"),
        (TurnStatus.FAILED, None, "RAG_FAILED", "暂时无法回答"),
    ],
)
async def test_a_question_without_an_answer(house, status, fault, code, message):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("水温是多少")
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Terminal(0, status, "", fault=fault))
        frame = await client.next()
        assert (frame["type"], frame["code"]) == ("error", code)
        assert frame["message"].startswith(message)
        assert await client.short(2) == ["idle", "listening"]
        await client.say("水温是多少")
        assert await client.short(3) == BEGUN


@pytest.mark.parametrize(("question", "said"), [("水温是多少", "还没有任何文档"), ("what is a fence", "no documents")])
async def test_where_there_is_no_base_the_question_is_answered_all_the_same(house, question, said):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say(question)
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        missing = Fault("unknown_kb", "there is no knowledge base 'default'; existing ones: docs")
        await house.worker.emit(job, Terminal(0, TurnStatus.FAILED, "", fault=missing))
        frame = await client.next()
        assert said in frame.pop("content")
        assert frame == {"type": "answer", "stream_index": 0, "final": False}
        assert await client.short(3) == [(1, "", True), "idle", "listening"]


async def test_overload_is_said(house):
    gateway = await house.gateway(turns=TurnSettings(max_sessions=1))
    async with asr(gateway) as one, asr(gateway) as two:
        await one.say("what is a fence", session_id="one")
        assert await one.short(3) == BEGUN
        await two.say("what is a fence", session_id="two")
        assert await two.short(6) == [*BEGUN, "OVERLOADED", "idle", "listening"]


async def test_bad_input_gets_an_error_and_disturbs_nobody(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_message=1600, max_text=200))
    async with asr(gateway) as client, asr(gateway) as other:
        for data, code in (
            ("{", "INVALID_JSON"),
            ("[" * 1500, "INVALID_JSON"),
            ('{"type": "nonsense"}', "UNKNOWN_TYPE"),
            ('{"type": "control", "action": "jump"}', "UNKNOWN_ACTION"),
            ('{"type": "asr_chunk", "text": "a"}', "MISSING_FIELD"),
            ('{"type": "asr_chunk", "text": 1, "is_final": true}', "INVALID_FIELD"),
            (b"\x00" * 640, "INVALID_FIELD"),
            ('{"type": "audio_config", "encoding": "mp3", "sample_rate": 16000, "channels": 1}', "INVALID_FIELD"),
            ('{"type": "audio_config", "sample_rate": 16}', "INVALID_FIELD"),
            ('{"type": "audio_config", "channels": 7}', "INVALID_FIELD"),
            ('{"type": "audio_config", "sample_rate": "x"}', "INVALID_FIELD"),
            ("x" * 2000, "TOO_LARGE"),
            (b"\x00" * 2000, "TOO_LARGE"),
            (json.dumps({"type": "asr_chunk", "text": "x" * 201, "is_final": True}), "TOO_LARGE"),
        ):
            await client.socket.send(data)
            assert await client.short(1) == [code]
        for each in (client, other):
            await each.say("hm", False)
            assert await each.short(1) == ["ack"]


async def test_a_flood_is_told_to_slow_down(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0.001, message_burst=2))
    async with asr(gateway) as client:
        for _ in range(4):
            await client.say("hm", False)
        assert await client.short(4) == ["ack", "ack", "RATE_LIMITED", "RATE_LIMITED"]


async def test_a_token_is_demanded_where_there_is_a_secret(house):
    gateway = await house.gateway(access=AccessSettings(auth_secret="a secret that is long enough for every test"))
    async with asr(gateway, greet=False) as client:
        assert await client.short(1) == ["UNAUTHORIZED"]
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1008


async def test_a_drain_lets_the_answer_end(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        job = await house.worker.jobs.get()
        drain = asyncio.create_task(gateway.drain(10))
        await asyncio.sleep(0)
        await house.worker.answer(job, "in time")
        assert await client.short(4) == [(0, "in time", False), (1, "", True), "idle", "listening"]
        with pytest.raises(ConnectionClosed):
            await client.next()
        assert client.socket.close_code == 1001
        await drain


async def test_a_client_that_goes_leaves_its_turn_running(house):
    gateway = await house.gateway()
    async with asr(gateway) as client:
        await client.say("what is a fence")
        job = await house.worker.jobs.get()
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.connections:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()
    await house.worker.answer(job, "kept")
    (row,) = await house.store.rows([job.key])
    assert (row.status, row.text) == (TurnStatus.COMPLETED, "kept")


async def test_a_client_that_does_not_read_holds_its_answer_up_and_nothing_else(house):
    """Text waits in the turn, once; frames are made when the socket takes them."""
    gateway = await house.gateway()
    big, pieces = "x" * 100_000, 100
    async with asr(gateway, max_queue=1) as client:
        await client.say("what is a fence")
        assert await client.short(3) == BEGUN
        (socket,) = gateway.hub.connections.values()
        job = await house.worker.jobs.get()
        client.socket.transport.pause_reading()
        for n in range(pieces):
            await house.worker.emit(job, Delta(n, n * len(big), big))
        await house.worker.finish(job, big * pieces, pieces)
        async with asyncio.timeout(LIMIT_S):
            while socket.wire.writable:
                await house.store.ping()
        written = socket.outbox.frames
        assert socket.outbox.empty
        assert written < pieces
        client.socket.transport.resume_reading()
        text, frame = "", await client.next()
        while not frame.get("final"):
            assert frame["type"] == "answer"
            text += frame["content"]
            frame = await client.next()
        assert text == big * pieces
        assert await client.short(2) == ["idle", "listening"]


@pytest.mark.parametrize(
    ("asked", "every", "engine"),
    [
        (AsrEngineChoice(), EngineChoice(), ""),
        (AsrEngineChoice(key="app-x"), EngineChoice(), "dify"),
        (AsrEngineChoice(mock=True, key="app-x"), EngineChoice(), ""),
        (AsrEngineChoice(mock=False), EngineChoice(), "dify"),
        (AsrEngineChoice(), EngineChoice(rag_engine="dify"), "dify"),
    ],
)
async def test_which_engine_is_asked_and_as_whom(house, asked, every, engine):
    settings = AsrSettings(kb="manuals", choice=asked)
    gateway = await house.gateway(asr=settings, engine=every)
    async with asr(gateway) as client:
        await client.say("what is a fence", session_id="user_001")
        job = await house.worker.jobs.get()
        assert (job.engine, job.user, job.kb) == (engine, "user_001", "manuals")
