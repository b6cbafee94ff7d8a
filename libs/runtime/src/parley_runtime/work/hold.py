"""Store calls of one stage: while the store is away the deliveries that need it wait, and no try is used up."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from parley_runtime.errors import ConfigError, Expired, StoreAway
from parley_runtime.jitter import spread
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.work.live import LiveRun

T = TypeVar("T")

BACK_OFF_S = (0.05, 1.0)
"""First and longest wait between two calls for one delivery."""

LATE = "The turn's time ran out while its state could not be stored. Ask again later."

log = get_logger(__name__)


class GaveUp(Exception):
    """The store has been away for too long: let another process try, or this one later."""


class StoreHold:
    """Holds each delivery for ``hold_s`` at most; where ``on_away`` is not set, for a second at least."""

    def __init__(self, stage: str, hold_s: float) -> None:
        self._stage = stage
        self._hold_s = hold_s
        self.on_away: Callable[[str, bool], None] | None = None
        """Called as deliveries are given up, with the reason and whether that happened before and no call has
        succeeded since. Where it is set, such later deliveries are given up at once.
        """
        self._hurry = asyncio.Event()
        self._waiting = 0
        self._reason = ""
        self._doubtful = False

    @property
    def trouble(self) -> str | None:
        """Why deliveries wait; None while none does."""
        return self._reason if self._waiting else None

    def hurry(self) -> None:
        """This process is leaving: hold nothing any more."""
        self._hurry.set()

    async def call(self, run: LiveRun[Any], work: Callable[[], Awaitable[T]]) -> T:
        """``work``'s result; it is called again, with back-off, while the store is away.

        Raises:
            Expired: the turn's time ran out first.
            GaveUp: it waited long enough.
        """
        with suppress(StoreAway, ConfigError):
            return await self._once(work)
        self._waiting += 1
        try:
            return await self._again(run, work)
        finally:
            self._waiting -= 1

    async def _again(self, run: LiveRun[Any], work: Callable[[], Awaitable[T]]) -> T:
        loop = asyncio.get_running_loop()
        delay, longest = BACK_OFF_S
        # Where nobody stops consuming, a job that is given up at once is here again at once, and so on.
        until = loop.time() + (self._hold_s if self.on_away is not None else max(self._hold_s, longest))
        while True:
            if run.remaining_s() <= 0:
                raise Expired(LATE)
            left = until - loop.time()
            if self._doubtful or left <= 0 or self._hurry.is_set():
                self._give_up()
                raise GaveUp
            with suppress(TimeoutError):
                async with asyncio.timeout(min(spread(delay), left, run.remaining_s())):
                    await self._hurry.wait()
            delay = min(longest, delay * 2)
            with suppress(StoreAway, ConfigError):
                return await self._once(work)

    async def _once(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await work()
        except (StoreAway, ConfigError) as error:
            if not self._reason:
                log.warning("store is away; deliveries are held", stage=self._stage, reason=str(error))
            self._reason = str(error)
            raise
        if self._reason:
            log.info("store is back", stage=self._stage)
        self._reason = ""
        self._doubtful = False
        return result

    def _give_up(self) -> None:
        if self.on_away is not None:
            self.on_away(self._reason, self._doubtful)
            self._doubtful = True
