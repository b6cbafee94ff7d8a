"""Pages of a real Chromium: shared between tests where nothing of one can reach the next, and watched for errors."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request

WAIT_MS = 30_000

# The fragment asks for empty storage; it is gone again before the page's own scripts run, so a reload keeps storage.
FRESH = "#fresh"
CLEAN = f"""
if (location.hash === "{FRESH}") {{
  localStorage.clear();
  sessionStorage.clear();
  history.replaceState(null, "", location.pathname);
}}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is looked at."""

    width: int = 1280
    height: int = 860
    dark: bool = False
    locale: str = "en-US"
    touch: bool = False

    @property
    def kind(self) -> tuple[str, bool]:
        """What cannot be changed once the context is there."""
        return self.locale, self.touch


class Watch:
    """Collects what a sound page never does: console errors, uncaught errors, requests to another host."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.allowed: list[re.Pattern[str]] = []
        self._pages: list[tuple[Page, str]] = []

    def allow(self, pattern: str) -> None:
        """Errors that this test provokes on purpose."""
        self.allowed.append(re.compile(pattern))

    def attach(self, page: Page, url: str) -> None:
        self._pages.append((page, urlsplit(url).netloc))
        page.on("console", self._console)
        page.on("pageerror", self._uncaught)
        page.on("request", self._request)

    def detach(self) -> None:
        for page, _ in self._pages:
            page.remove_listener("console", self._console)
            page.remove_listener("pageerror", self._uncaught)
            page.remove_listener("request", self._request)

    def check(self) -> None:
        left = [text for text in self.problems if not any(each.search(text) for each in self.allowed)]
        assert left == []

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"console {message.type}: {message.text}")

    def _uncaught(self, error: Error) -> None:
        self.problems.append(f"uncaught: {error}")

    def _request(self, sent: Request) -> None:
        target = urlsplit(sent.url)
        if target.scheme in {"http", "https"} and target.netloc not in {host for _, host in self._pages}:
            self.problems.append(f"request to another host: {sent.url}")


class Pages:
    """Hands out pages with empty storage. One per kind is kept for the next test, whose scripts load from its cache."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[tuple[str, bool], Page] = {}
        self._taken: list[tuple[Look | None, Page]] = []

    async def take(
        self, url: str, watch: Watch, look: Look, *, own: bool = False, before: Callable[[Page], None] | None = None
    ) -> Page:
        """A page at ``url``. ``own``: in a context that no other test gets; ``before`` is called before it loads."""
        page = None if own else self._idle.pop(look.kind, None)
        page = page or await self._make(look)
        await page.set_viewport_size({"width": look.width, "height": look.height})
        await page.emulate_media(color_scheme="dark" if look.dark else "light")
        self._taken.append((None if own else look, page))
        watch.attach(page, url)
        if before is not None:
            before(page)
        await page.goto(url + FRESH, wait_until="domcontentloaded")
        return page

    async def give_back(self) -> None:
        """All pages that were taken. Where two of one kind were, one is kept."""
        taken, self._taken = self._taken, []
        for look, page in taken:
            if look is None or look.kind in self._idle or page.is_closed():
                await page.context.close()
            else:
                await page.goto("about:blank")
                self._idle[look.kind] = page

    async def _make(self, look: Look) -> Page:
        context = await self._browser.new_context(
            locale=look.locale,
            has_touch=look.touch,
            is_mobile=look.touch,
            device_scale_factor=2 if look.touch else 1,
        )
        context.set_default_timeout(WAIT_MS)
        await context.add_init_script(CLEAN)
        return await context.new_page()
