"""The shell that every documented dialect shares, shown with the data assistant's frames over real sockets."""

import asyncio
import json
import logging
import time
from contextlib import asynccontextmanager

import httpx
import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from parley_gateway.config import AccessSettings, LimitSettings
from parley_gateway.dialects.line import Line
from parley_protocol.events import Retrieval, TurnStatus

from .conftest import LIMIT_S, counted

pytestmark = pytest.mark.unit

SECRET = "a secret that is long enough for every test"


@asynccontextmanager
async def plain(gateway, path="/", **options):
    """An ordinary WebSocket client, as the documented systems use."""
    async with connect(f"ws://127.0.0.1:{gateway.port}{path}", **options) as socket:
        yield socket


async def receive(socket):
    async with asyncio.timeout(LIMIT_S):
        return json.loads(await socket.recv())


async def say(socket, message, **fields):
    await socket.send(json.dumps({"message": message, **fields}, ensure_ascii=False))


async def test_a_question_gets_one_reply_with_the_words_of_the_dialect(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "栅栏是什么？", session_id="user_001", context=None, extra=1)
        job = await house.worker.jobs.get()
        assert (job.question, job.kb, job.context) == ("栅栏是什么？", "default", None)
        await house.worker.emit(job, Retrieval(0, "question", "knowledge_base"))
        await house.worker.answer(job, "栅栏是", "数字。")
        assert await receive(socket) == {
            "status": "success",
            "response": "栅栏是数字。",
            "intent": "知识问答",
            "route_decision": {"decision": "knowledge_base", "needs_data": False},
            "data_used": [],
            "session_id": "user_001",
        }


async def test_replies_come_in_the_order_of_the_messages_errors_included(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "one", session_id="s")
        await socket.send("{")
        await socket.send('{"message": 7}')
        await socket.send('{"session_id": "s"}')
        await say(socket, "two", session_id="s")
        for text in ("one", "two"):
            job = await house.worker.jobs.get()
            assert job.question == text
            await house.worker.answer(job, f"to {text}")
        replies = [await receive(socket) for _ in range(5)]
        assert [reply["status"] for reply in replies] == ["success", "error", "error", "error", "success"]
        assert [reply["response"] for reply in replies if reply["status"] == "success"] == ["to one", "to two"]
        assert all(reply["session_id"] == "s" for reply in replies)
        assert "字段 message 应为字符串" in replies[2]["response"]
        assert "message" in replies[3]["response"]


async def test_the_same_session_id_is_one_conversation_on_every_gateway(house):
    one, two = await house.gateway("gateway-1"), await house.gateway("gateway-2")
    keys = []
    for gateway, name in ((one, "user_001"), (two, "user_001"), (two, "user_002")):
        async with plain(gateway) as socket:
            await say(socket, "hm?", session_id=name)
            job = await house.worker.jobs.get()
            keys.append(job.key.session)
            await house.worker.answer(job, "well")
            await receive(socket)
    assert keys[0] == keys[1] != keys[2]


async def test_a_socket_without_a_session_id_keeps_the_one_it_was_given(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        names = set()
        for text in ("one", "two"):
            await say(socket, text)
            await house.worker.answer(await house.worker.jobs.get(), "yes")
            names.add((await receive(socket))["session_id"])
        assert len(names) == 1
        assert len(names.pop()) >= 16


async def test_a_turn_that_failed_is_an_error_with_its_reason(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "hm?", session_id="s")
        job = await house.worker.jobs.get()
        await house.worker.tell(job, TurnStatus.FAILED, "", 0)
        reply = await receive(socket)
        assert (reply["status"], reply["session_id"]) == ("error", "s")
        assert "failed" in reply["response"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("x" * 2000, "bytes"),
        (b"\x00\x01", "消息无法识别"),
        ("[" * 1500, "消息无法识别"),
        ('{"message": "  "}', "empty"),
    ],
)
async def test_what_cannot_be_taken_is_said_and_the_socket_stays(house, data, said):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, max_message=1600))
    async with plain(gateway) as socket:
        await socket.send(data)
        reply = await receive(socket)
        assert reply["status"] == "error"
        assert said in reply["response"]
        await say(socket, "still here?")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["response"] == "yes"


async def test_a_flood_is_told_to_slow_down(house):
    gateway = await house.gateway(limits=LimitSettings(connect_rate=0, message_rate=0.001, message_burst=2))
    async with plain(gateway) as socket:
        for text in ("one", "two", "three"):
            await say(socket, text)
        for text in ("one", "two"):
            await house.worker.answer(await house.worker.jobs.get(), text)
        replies = [await receive(socket) for _ in range(3)]
        assert [reply["status"] for reply in replies] == ["success", "success", "error"]
        assert "slow down" in replies[2]["response"]


async def test_a_foreign_origin_and_an_unknown_path_are_refused_before_a_socket_opens(house):
    gateway = await house.gateway()
    with pytest.raises(InvalidStatus) as foreign:
        async with plain(gateway, origin="https://elsewhere.example"):
            pass
    assert foreign.value.response.status_code == 403
    assert b"PARLEY_ORIGINS" in foreign.value.response.body
    with pytest.raises(InvalidStatus) as unknown:
        async with plain(gateway, "/nowhere"):
            pass
    assert unknown.value.response.status_code == 404
    assert b"/v1/connect" in unknown.value.response.body


async def test_a_token_is_demanded_unless_the_dialect_is_open(house):
    closed = await house.gateway("gateway-1", access=AccessSettings(auth_secret=SECRET))
    async with plain(closed) as socket:
        reply = await receive(socket)
        assert reply["status"] == "error"
        assert "token" in reply["response"]
        with pytest.raises(ConnectionClosed):
            await receive(socket)
        assert socket.close_code == 1008
    opened = await house.gateway("gateway-2", access=AccessSettings(auth_secret=SECRET, open_dialects=("d0",)))
    async with plain(opened) as socket:
        await say(socket, "hm?")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(socket))["response"] == "yes"


async def test_sockets_of_one_user_are_bounded_whatever_they_speak(house):
    limits = LimitSettings(connect_rate=0, identity_sockets=1)
    gateway = await house.gateway(access=AccessSettings(auth_secret=SECRET), limits=limits)
    token = jwt.encode({"sub": "ada", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    async with house.client(gateway, greet=False) as native:
        await native.hello(token=token)
        async with plain(gateway, f"/?token={token}") as second:
            assert "close one first" in (await receive(second))["response"]
            with pytest.raises(ConnectionClosed):
                await receive(second)
            assert second.close_code == 1008
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.connections:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()
    assert gateway.hub.per_identity == {}
    async with plain(gateway, f"/?token={token}") as third:
        await say(third, "hm?")
        await house.worker.answer(await house.worker.jobs.get(), "yes")
        assert (await receive(third))["response"] == "yes"


async def test_a_drain_lets_the_answer_end_and_says_nothing_unasked(house):
    gateway = await house.gateway()
    async with plain(gateway) as busy, plain(gateway) as idle:
        await say(busy, "hm?")
        job = await house.worker.jobs.get()
        drain = asyncio.create_task(gateway.drain(10))
        with pytest.raises(ConnectionClosed):
            await receive(idle)
        assert idle.close_code == 1001
        await house.worker.answer(job, "in time")
        assert (await receive(busy))["response"] == "in time"
        with pytest.raises(ConnectionClosed):
            await receive(busy)
        assert busy.close_code == 1001
        await drain


async def test_a_client_that_goes_leaves_its_turn_running(house):
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "hm?", session_id="s")
        job = await house.worker.jobs.get()
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.connections:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()
    await house.worker.answer(job, "kept")
    (row,) = await house.store.rows([job.key])
    assert (row.status, row.text) == (TurnStatus.COMPLETED, "kept")


async def test_sockets_and_frames_are_counted_by_dialect(house):
    gateway = await house.gateway()
    before = counted("parley_frames_in_total", dialect="data_assistant", kind="text")
    async with plain(gateway) as socket:
        assert counted("parley_connections", dialect="data_assistant") == 1
        await socket.send("{")
        await receive(socket)
    assert counted("parley_frames_in_total", dialect="data_assistant", kind="text") == before + 1


async def test_a_line_keeps_the_order_is_bounded_and_outlives_what_fails():
    done: list[int] = []
    gate = asyncio.Event()
    line = Line(2)

    async def work(number: int) -> None:
        await gate.wait()
        done.append(number)
        if number == 1:
            raise RuntimeError("a defect")

    assert line.put(lambda: work(1))
    await asyncio.sleep(0)  # it has been taken out of the line
    assert [line.put(lambda n=n: work(n)) for n in (2, 3, 4)] == [True, True, False]
    assert line.busy
    gate.set()
    await line.idle()
    assert done == [1, 2, 3]
    assert not line.busy


async def test_a_line_that_is_closed_before_it_has_begun_is_idle():
    done = []

    async def work(number):
        done.append(number)

    line = Line(2)
    line.put(lambda: work(1))
    assert line.close() == 1
    await asyncio.sleep(0)  # the task ends without having run
    assert not line.busy
    assert line.put(lambda: work(2))
    await line.idle()
    assert done == [2]


async def test_messages_that_nobody_waits_for_any_more_are_said(house, caplog):
    caplog.set_level(logging.INFO)
    gateway = await house.gateway()
    async with plain(gateway) as socket:
        await say(socket, "one", session_id="s")
        await house.worker.jobs.get()
        await say(socket, "two", session_id="s")
        await say(socket, "three", session_id="s")
    async with asyncio.timeout(LIMIT_S):
        while gateway.hub.connections:
            gateway.hub.left.clear()
            await gateway.hub.left.wait()
    (said,) = [record for record in caplog.records if "are not answered" in str(record.msg)]
    assert said.msg["messages"] == 2


@pytest.mark.parametrize("path", ["/v1/realtime?model=parley", "/v1/connect"])
async def test_a_request_for_a_socket_that_a_proxy_has_taken_apart_is_told_so(house, path):
    gateway = await house.gateway()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert "Upgrade" in answer.text
        assert (await client.get("/v1/nowhere")).status_code == 404
