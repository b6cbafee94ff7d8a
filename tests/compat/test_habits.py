"""How the documented clients treat their sockets: heartbeats, returns after a loss, haste before the greeting."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect

from parley_testkit.proxy import CuttableProxy
from parley_testkit.stack import Stack

from .flows import UPLOAD
from .habits import Page, ended, stopped

pytestmark = pytest.mark.e2e

LIMIT_S = 60.0


@pytest.fixture
async def wire(stack: Stack) -> AsyncIterator[CuttableProxy]:
    """What lies between a page and the gateway."""
    proxy = CuttableProxy("127.0.0.1", stack.gateway.port)
    await proxy.start()
    yield proxy
    await proxy.close()


async def test_a_review_page_beats_and_comes_back_five_times(stack: Stack, wire: CuttableProxy) -> None:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=LIMIT_S) as http:
        headers = {"Content-Type": "application/json"}
        task = (await http.post("/v1/reviews", content=UPLOAD.encode(), headers=headers)).json()["task_id"]
    page = Page(f"ws://127.0.0.1:{wire.port}/ws/review/{task}", (), 3.0, 5, heartbeat=True)
    running = asyncio.create_task(page.run())
    for socket in range(1, 7):
        await page.until(lambda frame: frame.get("type") == "connection")
        end = await page.until(lambda frame: frame.get("stage") == "complete")
        assert end["progress"] == 100
        for _ in range(3):
            page.clock.strike()
            acked = await page.until(lambda frame: frame.get("type") == "heartbeat_ack")
            assert acked["timestamp"] == page.stamps[-1]
        assert page.sockets == socket
        if socket < 6:
            wire.cut()
    assert page.clock.pauses == [3.0] * 5
    await wire.refuse()
    await ended(running)
    assert page.clock.pauses == [3.0] * 10  # five more tries, in vain
    assert page.sockets == 6
    assert len(page.stamps) == 18


async def test_a_contact_page_comes_back_for_ever(wire: CuttableProxy) -> None:
    request = {
        "type": "contact_request",
        "message": "联系我",
        "timestamp": "2026-01-01T00:00:00Z",
        "userAgent": "M/5",
    }
    page = Page(f"ws://127.0.0.1:{wire.port}/contact", (json.dumps(request),), 5.0, None)
    running = asyncio.create_task(page.run())
    clients = set()
    for _ in range(20):
        greeting = await page.until(lambda frame: frame["type"] == "connection_established")
        received = await page.until(lambda frame: frame["type"] == "contact_request_received")
        assert received["client_id"] == greeting["client_id"]
        clients.add(greeting["client_id"])
        wire.cut()
    await stopped(running)
    assert len(clients) == 20
    assert set(page.clock.pauses) == {5.0}


async def test_many_messages_before_the_greeting_is_read_are_handled_in_order(stack: Stack) -> None:
    """As many as the rate lets through at once."""
    base = stack.url.replace("http", "ws")
    async with connect(f"{base}/ws/test/hasty", proxy=None) as socket:
        for number in range(80):
            await socket.send(f"message {number}")
        async with asyncio.timeout(LIMIT_S):
            frames = [json.loads(await socket.recv()) for _ in range(81)]
    assert frames[0]["type"] == "welcome"
    assert [frame["original_message"] for frame in frames[1:]] == [f"message {number}" for number in range(80)]
    async with connect(f"{base}/", proxy=None) as socket:
        for number in range(30):
            await socket.send(json.dumps({"message": "hello", "session_id": f"hasty-{number}"}))
        async with asyncio.timeout(LIMIT_S):
            replies = [json.loads(await socket.recv()) for _ in range(30)]
    assert [reply["session_id"] for reply in replies] == [f"hasty-{number}" for number in range(30)]
    assert {reply["status"] for reply in replies} == {"success"}
    async with connect(f"{base}/ws/realtime-asr", proxy=None) as socket:
        for number in range(80):
            chunk = {"type": "asr_chunk", "text": f"now {number}", "is_final": False, "session_id": f"hasty-{number}"}
            await socket.send(json.dumps(chunk))
        async with asyncio.timeout(LIMIT_S):
            acks = [json.loads(await socket.recv()) for _ in range(82)]
    assert [ack["received_type"] for ack in acks if ack["type"] == "ack"] == ["connect", *["asr_chunk"] * 80]
    assert [ack["session_id"] for ack in acks[2:]] == [f"hasty-{number}" for number in range(80)]


async def test_a_tutors_student_in_haste_is_answered_in_order(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False, timeout=LIMIT_S) as http:
        session = (await http.post("/v1/sessions", json={"tutor_id": 1, "student_id": 999})).json()
        asked = ["hello", "thanks", "bye"]
        async with connect(session["engine_url"], proxy=None) as socket:
            for text in asked:
                await socket.send(json.dumps({"type": "text", "content": text}))
            async with asyncio.timeout(LIMIT_S):
                answers = [json.loads(await socket.recv()) for _ in asked]
        assert (await http.delete(f"/v1/sessions/{session['session_id']}")).json() == {"status": "deleted"}
    assert {answer["type"] for answer in answers} == {"text"}
    assert len({answer["content"] for answer in answers}) == len(asked), "each has its own answer"


async def test_a_dropped_session_goes_on_at_the_other_gateway(stack: Stack) -> None:
    """D0 does not come back by itself: the next socket, wherever, names the session."""
    near, far = (gateway.url.replace("http", "ws") for gateway in stack.of("gateway"))
    wire, session = CuttableProxy("127.0.0.1", stack.gateway.port), f"user-{uuid.uuid4().hex[:8]}"
    await wire.start()
    assert near != far
    async with connect(f"ws://127.0.0.1:{wire.port}/", proxy=None) as socket:
        await socket.send(json.dumps({"message": "compat-1 最近的水温是多少？", "session_id": session}))
        async with asyncio.timeout(LIMIT_S):
            assert json.loads(await socket.recv())["intent"] == "数据查询"
        wire.cut()
    await wire.close()
    async with connect(f"{far}/", proxy=None) as socket:
        await socket.send(json.dumps({"message": "那昨天呢？", "session_id": session}))
        async with asyncio.timeout(LIMIT_S):
            reply = json.loads(await socket.recv())
    assert reply["intent"] == "数据查询"
    assert "21.00" in reply["response"]
