"""The page against the real thing: gateway, rag and inference as processes, a broker, the sample documents."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from harness import Stack
from playwright.async_api import Page, WebSocket, expect

from parley_client.api import Api
from parley_client.up import sample

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).parents[2]


class Tap:
    """Every frame that the server sent to a page, on however many sockets."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.sockets = 0

    def attach(self, page: Page) -> None:
        page.on("websocket", self._opened)

    def _opened(self, socket: WebSocket) -> None:
        self.sockets += 1
        socket.on("framereceived", lambda data: self.frames.append(json.loads(data)))

    def welcomes(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == "welcome"]

    def done(self) -> dict[str, Any]:
        """The end of the only turn, whose numbers have no hole or repeat and whose deltas are its text."""
        events = [frame for frame in self.frames if "seq" in frame]
        assert len({frame["turn"] for frame in events}) == 1
        assert [frame["seq"] for frame in events] == list(range(len(events)))
        assert [frame["type"] for frame in events].count("turn.done") == 1
        assert "turn.restarted" not in {frame["type"] for frame in events}
        assert "".join(frame["text"] for frame in events if frame["type"] == "answer.delta") == events[-1]["text"]
        return events[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def installation(stack: Stack, tmp_path_factory) -> Stack:
    """The stack, with the sample knowledge bases loaded as `./task up` loads them."""
    async with Api(stack.url) as api:
        done = await sample.load(api, ROOT, tmp_path_factory.mktemp("sample"))
    assert {name: summary.failed for name, summary in done.items()} == {"default": [], "test": []}
    return stack


@pytest.fixture
def tap() -> Tap:
    return Tap()


async def ask(page: Page, text: str) -> None:
    await page.locator("#question").press_sequentially(text)
    await page.keyboard.press("Enter")


def plain(text: str) -> str:
    """Letters and digits alone: what is left of a text when its marks, spaces and citations are drawn or hidden."""
    return re.sub(r"[\W_]", "", re.sub(r"\[\d+\]", "", text))


async def words_shown(page: Page) -> str:
    """The plain words of the answer on the page, without its citation marks."""
    script = """answer => {
      const copy = answer.cloneNode(true);
      for (const mark of copy.querySelectorAll(".cite")) mark.remove();
      return copy.textContent;
    }"""
    return plain(await page.locator(".answer").evaluate(script))


async def settled(page: Page, state: str) -> None:
    await expect(page.locator(".turn")).to_have_attribute("data-state", state, timeout=60_000)


QUESTIONS = [
    pytest.param("How many minutes is the resume window?", "docs/guarantees/g03-resume.md", "ten minutes", id="en"),
    pytest.param("断线之后，客户端怎样继续接收同一个回答？", "docs/zh/guarantees.md", "准确收到错过的内容", id="zh"),
]


@pytest.mark.parametrize(("question", "document", "words"), QUESTIONS)
async def test_a_typed_question_gets_an_answer_whose_citations_hold(
    installation, open_page, shot, request, tap, question, document, words
):
    page = await open_page(installation.url, own=True, before=tap.attach)
    await expect(page.locator("select#kb")).to_have_value("default")
    await ask(page, question)
    await settled(page, "completed")
    done = tap.done()
    answer = page.locator(".answer")
    await expect(answer).to_contain_text(words)
    cited = await page.locator(".cite").all()
    assert cited
    documents = set()
    for mark in cited:
        number = int(await mark.inner_text())
        await mark.click()
        opened = page.locator("#sources details[open]")
        await expect(opened.locator(".badge")).to_have_text(str(number))
        source = done["sources"][number - 1]
        await expect(opened.locator(".facts").first).to_contain_text(source["document"])
        marked = await opened.locator("mark").all_inner_texts()
        assert marked, f"nothing is marked in source {number}"
        for text in marked:
            assert plain(text) in plain(source["text"])
        original = (ROOT / source["document"]).read_text(encoding="utf-8")
        assert plain(marked[0]) in plain(original)
        documents.add(source["document"])
    assert document in documents
    await shot(page, f"real-{request.node.callspec.id}")


async def test_a_spoken_question_is_answered_aloud(installation, open_page, shot):
    played = asyncio.Event()
    sounds: list[bytes] = []

    def sent(data: str | bytes) -> None:
        frame = json.loads(data) if isinstance(data, str) else {}
        if frame.get("type") == "audio.played" and frame["ms"] > 300:
            played.set()

    def opened(socket: WebSocket) -> None:
        socket.on("framesent", sent)
        socket.on("framereceived", lambda data: sounds.append(data) if isinstance(data, bytes) else None)

    page = await open_page(installation.url, own=True, before=lambda page: page.on("websocket", opened))
    await page.context.grant_permissions(["microphone"])
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    await page.locator("#mic").click()
    await expect(page.locator("#caption")).to_contain_text("five six", timeout=20_000)
    await shot(page, "real-speaking")
    await page.locator("#mic").click()
    await settled(page, "completed")
    await expect(page.locator(".turn .words")).to_contain_text("five six")
    assert await words_shown(page)
    async with asyncio.timeout(60):
        await played.wait()
    assert sounds
    await page.locator("#stop").click()  # it may speak for a minute: silence is a click away
    await expect(page.locator("#stop")).to_be_hidden(timeout=30_000)


async def test_the_stop_button_ends_the_turn_with_the_text_that_is_there(installation, open_page, tap):
    page = await open_page(installation.url, own=True, before=tap.attach)
    await ask(page, "What happens when a worker dies in the middle of an answer?")
    await expect(page.locator(".answer")).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    await page.locator("#stop").click()
    await settled(page, "cancelled")
    done = tap.done()
    assert done["status"] == "cancelled"
    assert done["text"]
    assert await words_shown(page) == plain(done["text"])
    await expect(page.locator("#stop")).to_be_hidden()
    await ask(page, "What is a fence?")
    await expect(page.locator(".turn").last).to_have_attribute("data-state", "completed", timeout=60_000)


async def test_a_gateway_killed_in_mid_answer_is_resumed_on_its_return(installation, open_page, watch, tap, shot):
    watch.allow("ERR_CONNECTION_REFUSED|WebSocket connection to .* failed")
    page = await open_page(installation.url, own=True, before=tap.attach)
    await ask(page, "What happens when a worker dies in the middle of an answer?")
    await expect(page.locator(".answer")).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    installation.gateway.end(signal.SIGKILL)
    await expect(page.locator("#link")).not_to_have_attribute("data-phase", "open")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "accepted")
    before = await words_shown(page)
    await shot(page, "real-reconnecting")
    installation.gateway.start()
    await settled(page, "completed")
    done = tap.done()
    first, second = tap.welcomes()
    assert (second["session"], second["resumed"], second["gap"]) == (first["session"], True, False)
    assert await words_shown(page) == plain(done["text"])
    assert plain(done["text"]).startswith(before)
    assert before != plain(done["text"])
    await expect(page.locator(".note")).to_be_empty()
