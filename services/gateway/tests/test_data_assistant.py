"""The data assistant's own frames: readings used, contexts, sessions of messages that were not taken, errors."""

import json

import msgspec
import pytest

from parley_gateway.config import LimitSettings
from parley_gateway.dialects.data_assistant import reply, used
from parley_protocol.events import Fault, Retrieval, Terminal, TurnStatus
from parley_protocol.readings import MetricData, Reading

from .test_dialect_socket import plain, receive, say

pytestmark = pytest.mark.unit

READING = Reading(timestamp="2026-11-28T18:00:00+00:00", value="23.50", unit="℃", sensor="pond-1")
FOUND = Retrieval(
    0,
    "query_data",
    "query_data",
    (),
    (MetricData(metric="temp", readings=(READING,)), MetricData(metric="do", readings=(), truncated=True)),
)


async def test_an_answer_from_data_tells_the_readings_with_their_digits(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "查询最近的水温数据", session_id="user_001", context={})
        job = await house.worker.jobs.get()
        await house.worker.emit(job, FOUND)
        await house.worker.answer(job, "水温 23.50℃")
        raw = await socket.recv()
        assert '"value":23.50,' in raw
        assert json.loads(raw) == {
            "status": "success",
            "response": "水温 23.50℃",
            "intent": "数据查询",
            "route_decision": {"decision": "query_data", "needs_data": True},
            "data_used": [
                {
                    "type": "sensor_data",
                    "metric": "temp",
                    "readings": [
                        {"timestamp": "2026-11-28T18:00:00+00:00", "value": 23.5, "unit": "℃", "sensor": "pond-1"}
                    ],
                },
                {"type": "sensor_data", "metric": "do", "readings": [], "truncated": True},
            ],
            "session_id": "user_001",
        }


async def test_readings_used_come_with_the_terminal_where_their_mark_was_lost(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "水温多少")
        job = await house.worker.jobs.get()
        marks = type(job.marks)(retrieval=FOUND)
        await house.worker.emit(job, Terminal(2, TurnStatus.COMPLETED, "23.50", marks=marks))
        reply = await receive(socket)
        assert (reply["intent"], [entry["metric"] for entry in reply["data_used"]]) == ("数据查询", ["temp", "do"])


@pytest.mark.parametrize("text", ["x" * 2_000_000, "漢" * 900_000, "\x01" * 200_000])
def test_a_reply_stays_below_what_clients_take(text):
    rows = [used(MetricData(metric="m" * 64, readings=(READING,) * 200)) for _ in range(5)]
    frame = reply(text, "query_data", "s", rows)
    assert len(msgspec.json.encode(frame)) < 900 * 1024
    assert frame["truncated"] is True
    assert text.startswith(frame["response"])
    assert len(frame["data_used"][4]["readings"]) == 200
    assert "truncated" not in reply("x" * 60_000, "query_data", "s", rows)


async def test_a_session_id_is_not_repeated_whatever_its_length(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "hello", session_id="x" * 1025)
        raw = await socket.recv()
        assert len(raw) < 500
        assert "session_id" in json.loads(raw)["response"]
        await say(socket, "one", session_id="x" * 1024)
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["session_id"] == "x" * 1024


@pytest.mark.parametrize(
    ("question", "said"), [("电话是谁发明的", "知识库里还没有任何文档"), ("who is it?", "no documents")]
)
async def test_where_the_base_that_nobody_named_is_not_there_the_answer_says_so(house, question, said):
    gateway = await house.gateway()
    missing = Fault("unknown_kb", "there is no knowledge base 'default'; existing ones: docs")
    async with plain(gateway) as socket:
        await say(socket, question, session_id="s")
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Terminal(0, TurnStatus.FAILED, "", fault=missing))
        reply = await receive(socket)
        assert said in reply.pop("response")
        assert reply == {
            "status": "success",
            "intent": "知识问答",
            "route_decision": {"decision": "knowledge_base", "needs_data": False},
            "data_used": [],
            "session_id": "s",
        }
        await say(socket, question, session_id="s", context={"kb": "cellar"})
        job = await house.worker.jobs.get()
        await house.worker.emit(job, Terminal(0, TurnStatus.FAILED, "", fault=missing))
        assert (await receive(socket))["status"] == "error"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"kb": 7}, "context.kb"),
        ({"sensor": []}, "context.sensor"),
        ({"place": {}}, "context.place"),
        ({"time_range": 5}, "context.time_range"),
    ],
)
async def test_a_mistyped_context_is_said_in_the_language_of_the_question(house, context, said):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "水温多少", session_id="s", context=context)
        reply = await receive(socket)
        assert (reply["status"], reply["session_id"]) == ("error", "s")
        assert reply["response"].startswith(f"请求有误：{said}")
        await say(socket, "how warm is it?", session_id="s", context=context)
        assert (await receive(socket))["response"].startswith(said)
        assert "retry_after_ms" not in reply


async def test_context_goes_on_to_the_worker_without_the_base(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        context = {"kb": "mine", "sensor": "pond-1", "place": None, "time_range": {"start": "2026-11-01"}, "more": [1]}
        await say(socket, "水温多少", context=context)
        job = await house.worker.jobs.get()
        assert job.kb == "mine"
        assert job.context == {key: value for key, value in context.items() if key != "kb"}


async def test_a_message_that_was_not_taken_keeps_the_session_it_names(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "one", session_id="s1")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        await receive(socket)
        for data, session in (
            ('{"message": 7, "session_id": "s2"}', "s2"),
            ('{"session_id": "s3"}', "s3"),
            ('{"message": "x", "context": 5, "session_id": "s4"}', "s4"),
            ('{"message": 7, "session_id": 9}', "s1"),
            ("[]", "s1"),
            ("nonsense", "s1"),
        ):
            await socket.send(data)
            reply = await receive(socket)
            assert (reply["status"], reply["session_id"]) == ("error", session)
            assert reply["response"].startswith("消息无法识别")


async def test_failures_that_may_pass_say_when_to_try_again(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0.001, message_burst=3))
    async with plain(gateway) as socket:
        for status in (TurnStatus.FAILED, TurnStatus.EXPIRED):
            await say(socket, "水温多少", session_id="s")
            await house.worker.tell(await house.worker.jobs.get(), status, "", 0)
            reply = await receive(socket)
            assert reply["status"] == "error"
            assert reply["retry_after_ms"] > 0
        await say(socket, "three")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        await receive(socket)
        await say(socket, "four")
        reply = await receive(socket)
        assert reply["retry_after_ms"] > 0
        assert reply["response"].startswith("消息过于频繁")
