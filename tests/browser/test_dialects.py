"""The pages of the documented dialects against real processes: what a user sees there is what the frames say."""

import asyncio
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from harness import Stack, parley
from playwright.async_api import Page, WebSocket, WebSocketRoute, expect

from parley_client.tokens import make_token

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "sample" / "contracts" / "采购合同.txt").read_text(encoding="utf-8")
HOURS = 12
LONG_MS = 60_000
FACT = "# Lighthouse\n\nThe lighthouse keeper of Parley Bay is Amina Holt.\n"
HEIGHTS = "points => points.map(point => [point.dataset.value, Number(point.getAttribute('cy'))])"
QUESTION = "Who is the lighthouse keeper of Parley Bay?"


class Tap:
    """The frames that the server sent to a page, by the path of their socket."""

    def __init__(self) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = {}
        self.sockets = 0

    def attach(self, page: Page) -> None:
        page.on("websocket", self._opened)

    def _opened(self, opened: WebSocket) -> None:
        self.sockets += 1
        path = "/" + opened.url.split("/", 3)[3].split("?")[0]
        kept = self.frames.setdefault(path, [])
        opened.on("framereceived", lambda data: kept.append(json.loads(data)))


@pytest.fixture
def tap() -> Tap:
    return Tap()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """The stack with readings of two ponds, the playbook and one document."""
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    rows = [
        {"metric": "temp", "sensor": sensor, "timestamp": at.isoformat(), "value": base + past / 10, "unit": "℃"}
        for sensor, base in (("pond-1", 20), ("pond-2", 22))
        for past in range(HOURS)
        for at in [hour - timedelta(hours=past)]
    ]
    stored = await asyncio.to_thread(httpx.post, f"{stack.url}/v1/readings", json=rows, trust_env=False, timeout=60)
    assert stored.json()["stored"] == 2 * HOURS, stored.text
    folder = tmp_path_factory.mktemp("documents")
    (folder / "bay.md").write_text(FACT, encoding="utf-8")
    for source, base in ((ROOT / "sample" / "playbook", "playbook"), (folder, "default"), (folder, "test")):
        done = await asyncio.to_thread(parley, stack.url, "ingest", str(source), "--kb", base)
        assert done.returncode == 0, done.stderr
    return stack


async def narrow(page: Page) -> None:
    """A phone's width has everything, and nothing to scroll sideways."""
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_the_index_leads_to_every_page(installation, open_page, shot):
    page = await open_page(f"{installation.url}/demo/")
    links = await page.locator("#cards a").evaluate_all("links => links.map(link => link.href)")
    assert len(links) == 5
    await shot(page, "demo-index")
    await narrow(page)
    await shot(page, "demo-index-narrow")
    for link in links:
        await page.goto(link)
        await expect(page.locator("#nav [aria-current=page]")).to_have_count(1)


async def test_the_chart_has_a_point_for_each_reading_used(installation, open_page, tap, shot):
    page = await open_page(f"{installation.url}/demo/data.html", own=True, before=tap.attach)
    await page.locator("#message").fill("查询过去24小时的水温数据")
    await page.keyboard.press("Enter")
    points = page.locator("#charts .chart[data-metric=temp] .point")
    await expect(points).to_have_count(2 * HOURS, timeout=LONG_MS)
    (reply,) = tap.frames["/"]
    used = reply["data_used"][0]["readings"]
    assert len(used) == 2 * HOURS
    drawn = await points.evaluate_all("points => points.map(point => Number(point.dataset.value))")
    assert sorted(drawn) == sorted(reading["value"] for reading in used)
    heights = await points.evaluate_all(HEIGHTS)
    ranked = sorted((float(value), height) for value, height in heights)
    assert all(low[1] >= high[1] for low, high in pairwise(ranked)), "a higher value is higher up"
    await expect(page.locator(".canvas polyline")).to_have_count(2)
    await expect(page.locator("#answer")).to_contain_text("水温")
    await points.first.hover()
    await expect(page.locator(".readout")).to_contain_text("pond-1")
    await shot(page, "demo-data")
    await narrow(page)
    await expect(points).to_have_count(2 * HOURS)
    await shot(page, "demo-data-narrow")
    await page.locator("#message").fill(QUESTION)
    await page.keyboard.press("Enter")
    await expect(page.locator("#answer")).to_contain_text("Amina Holt", timeout=LONG_MS)
    await expect(page.locator(".chart")).to_have_count(0)


async def test_the_owner_sees_a_visitor_and_answers_him(installation, open_page, watch, shot):
    watch.allow("401")
    page = await open_page(f"{installation.url}/demo/contact.html")
    await page.locator("#owner-token").fill("no token")
    await page.keyboard.press("Enter")
    await expect(page.locator("#owner-refused")).to_contain_text("token")
    token = make_token({}, "boss", owner=True, data=installation.folder / "data")
    await page.locator("#owner-token").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#owner-form")).to_be_visible()
    await page.locator("#visitor-text").fill(QUESTION)
    await page.keyboard.press("Enter")
    answer = page.locator("#visitor-log .assistant")
    await expect(answer).to_contain_text("Amina Holt", timeout=LONG_MS)
    await expect(page.locator("#owner-log .visitor")).to_contain_text(QUESTION)
    await expect(page.locator("#owner-log .assistant")).to_contain_text("Amina Holt")
    await page.locator("#owner-text").fill("我是主人，您好")
    await page.keyboard.press("Enter")
    await expect(page.locator("#visitor-log .owner .words")).to_have_text("我是主人，您好")
    await page.locator("#request").click()
    await expect(page.locator("#visitor-log .good")).to_have_text("联系请求已收到")
    await expect(page.locator("#owner-log .visitor")).to_have_count(2)
    await shot(page, "demo-contact")
    await narrow(page)
    await shot(page, "demo-contact-narrow")


async def test_the_owner_reads_what_was_written_before_and_speaks_to_everybody(installation, open_page, shot):
    page = await open_page(f"{installation.url}/demo/contact.html")
    await page.locator("#visitor-text").fill("Written before anybody was there")
    await page.locator("#request").click()
    await expect(page.locator("#visitor-log .good")).to_have_text("联系请求已收到")
    await page.locator("#owner-token").fill(make_token({}, "boss", owner=True, data=installation.folder / "data"))
    await page.keyboard.press("Enter")
    older = page.locator("#owner-log .visitor").last
    await expect(older).to_contain_text("Written before anybody was there")
    await expect(older.locator(".who")).to_contain_text("asks to be contacted")
    await expect(page.locator("#owner-log .notice")).to_have_text("Written before you came.")
    await page.locator("#owner-text").fill("We close at six")
    await page.locator("#broadcast").click()
    await expect(page.locator("#visitor-log .owner .words")).to_have_text("We close at six")
    await expect(page.locator("#owner-log .mine").last).to_contain_text("We close at six")
    await expect(page.locator("#owner-log .mine .who").last).to_contain_text("to everybody")
    await expect(page.locator("#owner-log .good")).to_contain_text(re.compile("reached: [1-9]"))
    await shot(page, "demo-contact-inbox")


async def test_the_chat_page_leads_to_the_pages_of_the_dialects(installation, open_page):
    page = await open_page(f"{installation.url}/")
    await expect(page.locator("#empty .elsewhere a")).to_have_text("Pages of the documented dialects")
    await page.locator("#demos").click()
    await expect(page.locator("#cards a")).to_have_count(5)
    await page.locator(".more a").first.click()
    await expect(page.locator("#question")).to_be_visible()


async def test_a_review_marks_its_findings_in_the_text(installation, open_page, tap, shot):
    page = await open_page(f"{installation.url}/demo/review.html", own=True, before=tap.attach)
    await page.locator("#contract").fill(CONTRACT)
    await page.locator("#hand-in button[type=submit]").click()
    await expect(page.locator("#percent")).to_have_text("100 %", timeout=LONG_MS)
    await expect(page.locator("#progress")).to_have_js_property("value", 100)
    await expect(page.locator("#result")).to_be_visible()
    (frames,) = tap.frames.values()
    findings = frames[-1]["result"]["findings"]
    assert len(findings) >= 5
    marks = page.locator("#text mark")
    assert await marks.all_inner_texts() == [finding["clause"] for finding in findings]
    assert await page.locator("#text").evaluate("text => text.textContent") == CONTRACT
    cards = page.locator("#findings .finding")
    assert await cards.locator(".cited strong").all_inner_texts() == [each["rule"]["title"] for each in findings]
    risks = await marks.evaluate_all("marks => marks.map(mark => mark.classList[1])")
    assert risks == [finding["risk"] for finding in findings]
    await marks.nth(2).click()
    await expect(cards.nth(2)).to_have_class("finding " + findings[2]["risk"] + " lit")
    await shot(page, "demo-review")
    await narrow(page)
    await shot(page, "demo-review-narrow")
    await page.reload()
    await expect(marks).to_have_count(len(findings))
    await page.locator("#file").set_input_files(ROOT / "sample" / "contracts" / "purchase-agreement.md")
    await page.locator("#role").select_option("seller")
    await page.locator("#hand-in button[type=submit]").click()
    await expect(page.locator("#text")).to_contain_text("Buyer", timeout=LONG_MS)
    other = await page.locator("#findings .cited strong").all_inner_texts()
    assert sorted(other) == ["Penalty", "Termination", "Unilateral change"]


async def test_the_bar_shows_each_step_of_a_review_and_its_failure(installation, open_page):
    page = await open_page(f"{installation.url}/demo/review.html", own=True)
    routes: asyncio.Queue[WebSocketRoute] = asyncio.Queue()
    await page.route_web_socket("**/ws/review/7", routes.put_nowait)
    await page.goto(f"{installation.url}/demo/review.html?task=7")
    async with asyncio.timeout(LONG_MS / 1000):
        route = await routes.get()
    for progress, message in ((5, "正在读取合同文档..."), (50, "正在分析合同条款...")):
        route.send(json.dumps({"stage": "analyzing", "progress": progress, "message": message}))
        await expect(page.locator("#progress")).to_have_js_property("value", progress)
        await expect(page.locator("#percent")).to_have_text(f"{progress} %")
        await expect(page.locator("#stage")).to_have_text(message)
    route.send(json.dumps({"type": "error", "message": "文件已损坏", "task_id": 7, "stage": "failed"}))
    await expect(page.locator("#refused")).to_have_text("文件已损坏")
    await expect(page.locator("#result")).to_be_hidden()


async def test_where_a_token_is_demanded_the_page_says_so_and_takes_it(lab, open_page):
    secret = {"PARLEY_AUTH_SECRET": "a secret of more than thirty-two characters"}
    with lab.stack("secured", roles={"gateway": 1}, **secret) as secured:
        page = await open_page(f"{secured.url}/demo/data.html")
        await expect(page.locator("#answer")).to_contain_text("token", timeout=LONG_MS)
        await expect(page.locator("#link")).to_have_attribute("data-phase", "stopped")
        await page.locator(".wire summary").click()
        await page.locator("#page-token").fill(make_token(secret, "me"))
        await page.keyboard.press("Enter")
        await expect(page.locator("#link")).to_have_attribute("data-phase", "open")


async def test_spoken_text_is_answered_and_can_be_paused_and_stopped(installation, open_page, tap, shot):
    page = await open_page(f"{installation.url}/demo/asr.html", own=True, before=tap.attach)
    now = page.locator("#stages [aria-current]")
    await expect(now).to_have_text("Listening")
    await page.locator("#words").press_sequentially(QUESTION)
    await expect(page.locator("#interim")).to_have_text(QUESTION)
    await page.keyboard.press("Enter")
    answer = page.locator("#heard .assistant")
    await expect(answer).to_contain_text("Amina Holt", timeout=LONG_MS)
    await expect(page.locator("#heard [data-final]")).to_have_count(1)
    told = [frame for frame in tap.frames["/ws/realtime-asr"] if frame["type"] == "answer"]
    assert [frame["stream_index"] for frame in told] == list(range(len(told)))
    await expect(now).to_have_text("Listening")
    await page.locator("#pause").click()
    await expect(now).to_have_text("Paused")
    await page.locator("#resume").click()
    await expect(now).to_have_text("Listening")
    await page.locator("#stop").click()
    await expect(now).to_have_text("Idle")
    await page.locator("#play").click()
    await expect(page.locator("#heard .mine").nth(2)).to_be_visible(timeout=LONG_MS)
    await expect(page.locator("#heard [data-final]")).to_have_count(2, timeout=LONG_MS)
    await shot(page, "demo-asr")
    await narrow(page)
    await shot(page, "demo-asr-narrow")


async def test_a_tutor_session_begins_answers_and_ends(installation, open_page, watch, shot):
    watch.allow("404")
    page = await open_page(f"{installation.url}/demo/tutor.html")
    await page.locator("#kb-id").fill("absent")
    await page.locator("#start").click()
    await expect(page.locator("#refused")).to_have_text("Knowledge base not found: absent")
    await page.locator("#kb-id").fill("test")
    await page.locator("#start").click()
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    await page.locator("#text").fill(QUESTION)
    await page.keyboard.press("Enter")
    await expect(page.locator("#said .assistant")).to_contain_text("Amina Holt", timeout=LONG_MS)
    await shot(page, "demo-tutor")
    await narrow(page)
    await shot(page, "demo-tutor-narrow")
    await page.locator("#end").click()
    await expect(page.locator("#said .notice").last).to_have_text("The session is over.")
    await expect(page.locator("#link")).to_have_attribute("data-phase", "stopped")


@pytest.mark.parametrize("where", ["served", "disk"])
async def test_the_test_page_of_reviews_works(installation, open_page, shot, where):
    body = {"text": CONTRACT, "role": "buyer"}
    made = await asyncio.to_thread(httpx.post, f"{installation.url}/v1/reviews", json=body, trust_env=False, timeout=60)
    server = installation.url.replace("http", "ws")
    file = (ROOT / "tools" / "clients" / "websocket_test.html").as_uri()
    page = await open_page(f"{installation.url}/demo/websocket_test.html" if where == "served" else file, own=True)
    if where == "disk":
        await page.locator("#server").fill(server)
    await expect(page.locator("#server")).to_have_value(server)
    await page.locator("#task").fill(str(made.json()["task_id"]))
    await page.clock.install()
    await page.locator("#connect").click()
    await expect(page.locator("#percent")).to_have_text("100%", timeout=LONG_MS)
    await expect(page.locator("#findings li").first).to_contain_text("预付款")
    await expect(page.locator("#log")).not_to_contain_text("heartbeat_ack")
    await page.clock.run_for(30_000)
    await expect(page.locator("#log")).to_contain_text("heartbeat_ack")
    await page.locator("#health").click()
    await expect(page.locator("#log")).to_contain_text("WebSocket服务正常")
    await page.locator("#echo").click()
    await expect(page.locator("#log")).to_contain_text("欢迎客户端 test_client_001")
    await page.locator("#disconnect").click()
    await expect(page.locator("#state")).to_have_text("未连接")
    await shot(page, f"demo-websocket-{where}")
    await narrow(page)


async def test_the_test_page_of_reviews_comes_back_five_times(open_page, watch, tap):
    watch.allow("WebSocket connection to .* failed")
    file = (ROOT / "tools" / "clients" / "websocket_test.html").as_uri()
    page = await open_page(file, own=True, before=tap.attach)
    await page.clock.install()
    with socket.socket() as closed:  # bound and not listening: nobody else answers there
        closed.bind(("127.0.0.1", 0))
        await page.locator("#server").fill(f"ws://127.0.0.1:{closed.getsockname()[1]}")
        await page.locator("#connect").click()
        for attempt in range(1, 6):
            await expect(page.locator("#state")).to_have_text(f"3 秒后重连（第 {attempt}/5 次）")
            assert tap.sockets == attempt
            await page.clock.run_for(2_900)
            assert tap.sockets == attempt
            await page.clock.run_for(100)
        await expect(page.locator("#state")).to_have_text("未连接")
        assert tap.sockets == 6
