"""Fixtures: a real Chromium, pages that fail the test on any console error, a scripted gateway, a real installation.

The browser is Debian's; `PARLEY_CHROMIUM` names another executable.
"""

import io
import os
import shutil
import sys
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from parley_asr.engines.scripted import speak
from parley_testkit.rabbit import RabbitNode

from .pages import WAIT_MS, Look, Pages, Watch
from .scripted import ScriptedGateway, Switch, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # its harness, under importlib mode

from harness import Lab, Stack

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
    # Pages that are allowed the microphone hear a file; the others are refused, as by a user who says no.
    "--use-fake-device-for-media-stream",
)

SAID = ("five", "six")
"""What microphones hear here, over and over: tones, which the scripted recogniser takes for words."""
TONES_HZ = (1500, 1700)


def tone_file() -> bytes:
    """It as a WAV file, with a second of silence behind it."""
    rate = 48_000
    samples = speak(SAID, rate=rate, silence_s=1.0)
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return made.getvalue()


OpenPage = Callable[..., Awaitable[Page]]

expect.set_options(timeout=WAIT_MS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    """One Chromium for the whole run."""
    heard = tmp_path_factory.mktemp("heard") / "tone.wav"
    heard.write_bytes(tone_file())
    assert shutil.which(CHROMIUM), f"{CHROMIUM} is missing: apt-get install chromium, or set PARLEY_CHROMIUM"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={heard}"]
        )
        yield chromium
        await chromium.close()


@pytest.fixture(scope="session")
def pages(browser: Browser) -> Pages:
    return Pages(browser)


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(pages: Pages, watch: Watch) -> AsyncIterator[OpenPage]:
    """`await open_page(url, own=..., before=..., width=..., height=..., dark=..., locale=..., touch=...)` opens a page.

    Its storage is empty. `own` is for tests that change more than the page: permissions, tabs, listeners. The test
    fails at its end when any of its pages logged an error or asked another host, unless `watch.allow`.
    """

    async def open_one(
        url: str, *, own: bool = False, before: Callable[[Page], None] | None = None, **look: int | bool | str
    ) -> Page:
        return await pages.take(url, watch, Look(**look), own=own, before=before)  # type: ignore[arg-type]

    yield open_one
    watch.detach()
    await pages.give_back()
    watch.check()


@pytest.fixture
def shot() -> Callable[[Page, str], Awaitable[Path]]:
    """`await shot(page, "name")` keeps a screenshot under tests/browser/shots, which git ignores."""

    async def take(page: Page, name: str) -> Path:
        path = SHOTS / f"{name}.png"
        await page.screenshot(path=path, animations="disabled")
        return path

    return take


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def switch() -> AsyncIterator[Switch]:
    """The address behind which each test has its own scripted gateway."""
    one = Switch()
    async with serving(one.app()) as url:
        one.url = url
        yield one


@pytest.fixture
def gateway(switch: Switch) -> ScriptedGateway:
    """A gateway of the test's own, at an address that all share, so that the page's files are loaded once."""
    switch.gateway = ScriptedGateway(switch.url)
    return switch.gateway


@pytest.fixture(scope="session")
def lab(rabbit: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Makes installations."""
    return Lab(rabbit, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="session")
def stack(lab: Lab) -> Iterator[Stack]:
    """A whole installation of real processes, with answers slow enough to be interrupted."""
    with lab.stack(
        "real",
        roles={"rag": 1, "inference": 1, "asr": 1, "gateway": 1},
        PARLEY_ENGINE="extractive",
        PARLEY_EXTRACTIVE_PACE_MS="40",
        PARLEY_ASR_ENGINE="scripted",
        PARLEY_ASR_VAD="energy",
    ) as running:
        yield running
