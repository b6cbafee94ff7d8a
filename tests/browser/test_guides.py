"""The documented systems' JavaScript in a real browser, in a page opened from disk: what it sends in `onopen`, how it
handles by type, its heartbeats and returns. The browser's clock is set by the test; its sockets are real.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from harness import Stack
from playwright.async_api import Browser, Page

from parley_client.api import Api
from parley_client.ingest import Candidate, upsert
from parley_client.up import sample_review
from parley_testkit.proxy import CuttableProxy

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "sample" / "contracts" / "采购合同.txt").read_text(encoding="utf-8")
DOCUMENT = ROOT / "docs" / "guarantees" / "g05-fencing.md"
GUIDE = Path(__file__).parent / "guides.html"
LONG_MS = 60_000
MINUTE_MS = 60_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def loaded(stack: Stack) -> Stack:
    """The installation with the sample playbook, and one document to answer from."""
    async with Api(stack.url) as api:
        await sample_review.load(api, ROOT)
        done = await upsert(api, [Candidate(DOCUMENT, DOCUMENT.name)], "default", {})
    assert done.failed == []
    return stack


@pytest_asyncio.fixture(loop_scope="session")
async def wire(stack: Stack) -> AsyncIterator[CuttableProxy]:
    """What lies between the page and the gateway."""
    async with CuttableProxy("127.0.0.1", stack.gateway.port) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def guide(browser: Browser) -> AsyncIterator[Page]:
    """The guides' page, from disk, with a clock that the test moves."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.clock.install(time=NOON)
    await page.goto(GUIDE.as_uri())
    await page.clock.pause_at(NOON + timedelta(minutes=1))
    yield page
    await context.close()


async def opened(page: Page, url: str, **options: Any) -> None:
    await page.evaluate("([url, options]) => guide(url, options)", [url, options])


async def until(page: Page, condition: str) -> None:
    """Of `page`, the guide's own state."""
    await page.wait_for_function(condition, timeout=LONG_MS)


async def handled(page: Page, kind: str, count: int = 1) -> Any:
    """The last frame of a kind, once there are so many."""
    await until(page, f"(page.handled['{kind}'] || []).length >= {count}")
    return await page.evaluate(f"page.handled['{kind}'].at(-1)")


async def comes_back(page: Page, wire: CuttableProxy, pause_ms: int) -> None:
    """A loss; a millisecond too early nothing happens, then there is another socket."""
    opened, closed = await page.evaluate("[page.opened, page.closed]")
    wire.cut()
    await until(page, f"page.closed === {closed + 1}")
    accepted = wire.accepted
    await page.clock.run_for(pause_ms - 1)
    assert wire.accepted == accepted
    await page.clock.run_for(1)
    await until(page, f"page.opened === {opened + 1}")


async def test_a_review_page_beats_every_30_s_and_comes_back_five_times(
    loaded: Stack, guide: Page, wire: CuttableProxy
) -> None:
    body = {"text": CONTRACT, "contract_type": "purchase", "role": "buyer"}
    task = (await guide.evaluate("([url, body]) => post(url, body)", [f"{loaded.url}/v1/reviews", body]))["task_id"]
    url = f"ws://127.0.0.1:{wire.port}/ws/review/{task}"
    await opened(guide, url, first=[{"type": "get_status"}], heartbeat=30_000, tries=5, pause=3_000)
    assert (await handled(guide, "connection"))["message"] == f"已连接到任务 {task} 的进度推送"
    assert (await handled(guide, "status"))["task_id"] == task
    await until(guide, "page.handled.progress?.at(-1).stage === 'complete'")
    figures = await guide.evaluate("page.handled.progress.map(frame => frame.progress)")
    assert figures == sorted(figures)
    await guide.clock.run_for(3 * 30_000)
    await handled(guide, "heartbeat_ack", 3)
    beats, acks = await guide.evaluate("[page.beats, page.handled.heartbeat_ack.map(frame => frame.timestamp)]")
    assert (len(beats), acks) == (3, beats)
    for number in range(2, 7):
        await comes_back(guide, wire, 3_000)
        await handled(guide, "connection", number)
        await handled(guide, "status", number)
    await wire.refuse()
    await until(guide, "page.closed === 6")
    for number in range(7, 12):  # five tries, in vain
        await guide.clock.run_for(3_000)
        await until(guide, f"page.closed === {number}")
    await guide.clock.run_for(MINUTE_MS)
    assert await guide.evaluate("[page.opened, page.closed]") == [6, 11]


async def test_a_contact_page_comes_back_after_5_s_for_ever(guide: Page, wire: CuttableProxy) -> None:
    stamp = "2026-01-01T00:00:00.000Z"
    first = [{"type": "contact_request", "message": "请联系我", "timestamp": stamp, "userAgent": "Mozilla/5.0"}]
    await opened(guide, f"ws://127.0.0.1:{wire.port}/contact", first=first, tries=1_000_000, pause=5_000)
    for number in range(1, 9):
        received = await handled(guide, "contact_request_received", number)
        greeting = await handled(guide, "connection_established", number)
        assert greeting["message"] == "WebSocket连接已建立"
        assert received["client_id"] == greeting["client_id"]
        await comes_back(guide, wire, 5_000)
    await guide.evaluate(
        "page.socket.send(JSON.stringify({type: 'chat_message', message: '你好', timestamp: new Date().toISOString()}))"
    )
    assert (await handled(guide, "chat_message_received"))["message"] == "消息已收到"
    assert (await handled(guide, "chat_message"))["message"]
    assert len(set(await guide.evaluate("page.handled.connection_established.map(frame => frame.client_id)"))) == 9


async def test_a_data_assistants_page_asks_in_onopen(guide: Page, wire: CuttableProxy) -> None:
    first = [{"message": text, "session_id": "user_001", "context": {}} for text in ("你好", "谢谢", "hello")]
    await opened(guide, f"ws://127.0.0.1:{wire.port}/", first=first)
    reply = await handled(guide, "success", 3)
    assert (reply["intent"], reply["session_id"], reply["data_used"]) == ("闲聊", "user_001", [])
    assert await guide.evaluate("page.frames.length") == 3
    await stays_away(guide, wire)


async def test_a_tutors_page_begins_a_session_and_follows_its_address(stack: Stack, guide: Page) -> None:
    body = {"tutor_id": 1, "student_id": 999, "kb_id": None}
    session = await guide.evaluate("([url, body]) => post(url, body)", [f"{stack.url}/v1/sessions", body])
    await opened(guide, session["engine_url"], first=[{"type": "text", "content": "Hello"}])
    assert (await handled(guide, "text"))["content"]
    await guide.evaluate(
        "url => fetch(url, {method: 'DELETE'}).then(answer => answer.json())",
        f"{stack.url}/v1/sessions/{session['session_id']}",
    )
    assert (await handled(guide, "error"))["content"]
    await until(guide, "page.closed === 1")


async def test_a_realtime_asr_page_speaks_in_onopen(loaded: Stack, guide: Page, wire: CuttableProxy) -> None:
    texts = ("what", "what is a", "what is a fence")
    first = [{"type": "asr_chunk", "text": text, "is_final": text == texts[-1]} for text in texts]
    await opened(guide, f"ws://127.0.0.1:{wire.port}/ws/realtime-asr", first=first)
    await until(guide, "page.handled.status?.filter(frame => frame.stage === 'listening').length === 2")
    frames = await guide.evaluate("page.frames")
    assert {frame["type"] for frame in frames} == {"ack", "status", "answer"}, frames
    assert [frame["received_type"] for frame in frames if frame["type"] == "ack"] == ["connect", *["asr_chunk"] * 3]
    stages = [frame["stage"] for frame in frames if frame["type"] == "status"]
    assert stages == ["listening", "analyzing", "querying_rag", "idle", "listening"]
    answers = [frame for frame in frames if frame["type"] == "answer"]
    assert [frame["stream_index"] for frame in answers] == list(range(len(answers)))
    assert [frame["final"] for frame in answers].count(True) == 1
    assert answers[-1]["final"]
    await stays_away(guide, wire)


async def stays_away(page: Page, wire: CuttableProxy) -> None:
    """This system's page does not come back by itself."""
    accepted = wire.accepted
    wire.cut()
    await until(page, "page.closed === 1")
    await page.clock.run_for(MINUTE_MS)
    assert wire.accepted == accepted
