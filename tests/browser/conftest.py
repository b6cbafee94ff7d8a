"""A real Chromium for tests: launch, pages that fail the test on any console error, screenshots.

`open_page(url)` is all a test needs; tests against other servers than the scripted one can use it unchanged. The
browser is Debian's; `PARLEY_CHROMIUM` names another executable.
"""

import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from parley_testkit.rabbit import RabbitNode

from .scripted import ScriptedGateway, serving

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))  # its harness, under importlib mode

from harness import Lab, Stack  # noqa: E402 - after the path it is found by

CHROMIUM = os.environ.get("PARLEY_CHROMIUM", "/usr/bin/chromium")
SHOTS = Path(__file__).parent / "shots"
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 10_000


class Watch:
    """Collects what a sound page never does: console errors, uncaught errors, requests to another host."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.allowed: list[re.Pattern[str]] = []

    def allow(self, pattern: str) -> None:
        """Errors that this test provokes on purpose."""
        self.allowed.append(re.compile(pattern))

    def attach(self, page: Page, url: str) -> None:
        host = urlsplit(url).netloc

        def console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                self.problems.append(f"console {message.type}: {message.text}")

        def request(sent: Request) -> None:
            target = urlsplit(sent.url)
            if target.scheme in {"http", "https"} and target.netloc != host:
                self.problems.append(f"request to another host: {sent.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", request)

    def check(self) -> None:
        left = [text for text in self.problems if not any(each.search(text) for each in self.allowed)]
        assert left == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the whole run; each page gets a context (storage, cookies) of its own."""
    assert shutil.which(CHROMIUM), f"{CHROMIUM} is missing: apt-get install chromium, or set PARLEY_CHROMIUM"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        await chromium.close()


@pytest.fixture
def watch() -> Watch:
    return Watch()


OpenPage = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, watch: Watch) -> AsyncIterator[OpenPage]:
    """`await open_page(url, width=..., height=..., dark=..., locale=...)` opens a page in a new context.

    The test fails at its end when any of its pages logged an error or asked another host, unless `watch.allow`.
    """
    contexts = []

    async def open_one(
        url: str,
        *,
        width: int = 1280,
        height: int = 860,
        dark: bool = False,
        locale: str = "en-US",
        touch: bool = False,
        before: Callable[[Page], None] | None = None,
    ) -> Page:
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale=locale,
            has_touch=touch,
            is_mobile=touch,
            device_scale_factor=2 if touch else 1,
        )
        contexts.append(context)
        page = await context.new_page()
        page.set_default_timeout(WAIT_MS)
        watch.attach(page, url)
        if before is not None:
            before(page)
        await page.goto(url)
        return page

    yield open_one
    for context in contexts:
        await context.close()
    watch.check()


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Page, str], Awaitable[Path]]:
    """`await shot(page, "name")` keeps a screenshot under tests/browser/shots, which git ignores."""

    async def take(page: Page, name: str) -> Path:
        path = SHOTS / f"{name}.png"
        await page.screenshot(path=path, animations="disabled")
        return path

    return take


@pytest_asyncio.fixture(loop_scope="session")
async def gateway() -> AsyncIterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    async with serving(scripted.app()) as url:
        scripted.url = url
        yield scripted


@pytest.fixture(scope="session")
def stack(rabbit: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole installation of real processes, with answers slow enough to be interrupted."""
    lab = Lab(rabbit, tmp_path_factory.mktemp("browser"))
    with lab.stack("real", PARLEY_ENGINE="extractive", PARLEY_EXTRACTIVE_PACE_MS="40") as running:
        yield running
