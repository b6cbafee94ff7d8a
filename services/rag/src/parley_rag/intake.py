"""What recorder, parker and knowledge commands share: consuming one queue; and waiting while the store is away."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from parley_protocol.routes import QueueSpec
from parley_runtime.config import setting
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.jitter import spread
from parley_runtime.ports import Broker, Delivery, Link, Subscription
from parley_runtime.telemetry.logging import get_logger

T = TypeVar("T")

BACK_OFF_S = (0.05, 2.0)
"""First and longest wait between two tries."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """How much recorder and parker take on, and how long they hold it while the store is away."""

    records: int = setting(
        "PARLEY_RECORD_PREFETCH", 64, "records stored side by side", unit="records", minimum=1, maximum=1000
    )
    dead: int = setting(
        "PARLEY_DEAD_PREFETCH", 8, "dead letters looked at side by side", unit="messages", minimum=1, maximum=100
    )
    hold_s: float = setting(
        "PARLEY_STORE_HOLD_S",
        10.0,
        "how long records are held for a store that is away before they go back to the broker",
        unit="seconds",
        zero="they go back at the first retry that fails",
        minimum=0,
        maximum=600,
    )


class Intake:
    """Serves each delivery of one queue in a task of its own, ``prefetch`` at a time. ``serve`` settles the delivery;
    one that raises is logged and left unsettled, so that the broker delivers it again after the connection.
    """

    def __init__(
        self, broker: Broker, queue: QueueSpec, serve: Callable[[Delivery], Awaitable[None]], *, prefetch: int
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._serve = serve
        self._prefetch = prefetch
        self._link: Link | None = None
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    @property
    def consuming(self) -> bool:
        """Proven, not merely connected."""
        return self._subscription is not None and self._subscription.consuming

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Consume, on a link of its own. Does nothing once draining or closed.

        Raises:
            Unavailable: not consuming within ``wait_s``.
        """
        if self._ending or self._link is not None:
            return
        self._link = await self._broker.open(f"consume:{self._queue.name.removeprefix('parley.')}", wait_s=wait_s)
        self._subscription = await self._link.subscribe(lambda: self._queue, self._take, prefetch=self._prefetch)
        await self._subscription.wait_consuming(wait_s)

    async def release(self) -> None:
        """Stop consuming and give everything unsettled back to the queue, for another process to take."""
        link, self._link, self._subscription = self._link, None, None
        if link is not None:
            await link.close()

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new; let what is in hand finish. Idempotent."""
        self._ending = True
        if self._subscription is not None:
            await self._subscription.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline_s)

    async def aclose(self) -> None:
        """End what still runs and close the link: the rest is delivered again. Idempotent."""
        self._ending = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.release()

    def _take(self, delivery: Delivery) -> None:
        task = asyncio.ensure_future(self._serve(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery was left unsettled by a defect", queue=self._queue.name, exc_info=error)


class StoreGate:
    """Lets store calls through while the store answers. When it does not, callers wait and one call is tried again
    with back-off; after ``hold_s`` the intake gives its deliveries back, and it starts again with the store.

    Nothing is dead-lettered and nothing dropped because of the store.
    """

    def __init__(self, intake: Intake, *, hold_s: float) -> None:
        self._intake = intake
        self._hold_s = hold_s
        self._open = asyncio.Event()
        self._open.set()
        self._probe: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Why callers wait; None while they do not."""

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """``work``'s result. ``work`` may be called several times and must bear that. Errors that are not the
        store's being away pass on.
        """
        while True:
            try:
                return await work()
            except (Unavailable, ConfigError) as error:
                self._close(work, str(error))
            await self._open.wait()

    async def aclose(self) -> None:
        """Stop trying. Callers still waiting are left to whoever cancels them."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    def _close(self, work: Callable[[], Awaitable[object]], reason: str) -> None:
        self.trouble = reason
        if self._open.is_set():
            self._open.clear()
            log.error("store is away; records are held", reason=reason)
            self._probe = asyncio.create_task(self._until_back(work), name="store probe")

    async def _until_back(self, work: Callable[[], Awaitable[object]]) -> None:
        loop = asyncio.get_running_loop()
        since, delay = loop.time(), BACK_OFF_S[0]
        while not await self._answers(work, delay):
            delay = min(BACK_OFF_S[1], delay * 2)
            if loop.time() - since >= self._hold_s:
                await self._intake.release()
        self.trouble = None
        self._open.set()
        log.info("store is back", away_s=round(loop.time() - since, 1))

    async def _answers(self, work: Callable[[], Awaitable[object]], delay: float) -> bool:
        await asyncio.sleep(spread(delay))
        try:
            await work()
        except (Unavailable, ConfigError) as error:
            self.trouble = str(error)
            return False
        except Exception:
            log.info("the store answers; the call it was tried with is refused")
        try:
            await self._intake.start()
        except Unavailable as error:  # the broker is away as well
            self.trouble = str(error)
            return False
        return True


class StoreIntake(ABC):
    """A consumer whose every delivery needs the store. Any number of processes may consume the same queue."""

    def __init__(self, broker: Broker, queue: QueueSpec, *, what: str, prefetch: int, hold_s: float) -> None:
        """``what`` it consumes, in words."""
        self._what = what
        self._intake = Intake(broker, queue, self._serve, prefetch=prefetch)
        self._gate = StoreGate(self._intake, hold_s=hold_s)

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Raises Unavailable unless it is consuming within ``wait_s``."""
        await self._intake.start(wait_s=wait_s)

    def check(self) -> str | None:
        """For readiness: why deliveries are not being served."""
        if self._gate.trouble is not None:
            return self._gate.trouble
        return None if self._intake.consuming else f"not consuming {self._what}; see the broker link's state"

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new; finish what is in hand. What is not finished in time is delivered again."""
        await self._intake.drain(deadline_s)

    async def aclose(self) -> None:
        """End. Idempotent."""
        await self._gate.aclose()
        await self._intake.aclose()

    @abstractmethod
    async def _serve(self, delivery: Delivery) -> None:
        """Serve and settle ``delivery``; see :class:`Intake`."""
