"""One stage's place at the broker, left while the store is away and taken again when it is back."""

import asyncio
from collections.abc import Awaitable, Callable

from parley_protocol.routes import QueueSpec
from parley_runtime.errors import ParleyError
from parley_runtime.jitter import spread
from parley_runtime.ports import Broker, Link, OnDelivery, Subscription
from parley_runtime.telemetry.logging import get_logger

BACK_OFF_S = (0.25, 10.0)
"""First and longest wait before the store is tried again while nothing is consumed."""

log = get_logger(__name__)


class StageConsumer:
    """Consumes one queue on a link of its own, at most ``prefetch`` unsettled deliveries at a time. ``answers`` raises
    while the store is away, whatever it raises: the stage is taken again when it no longer does.
    """

    def __init__(
        self,
        broker: Broker,
        queue: QueueSpec,
        on_delivery: OnDelivery,
        *,
        stage: str,
        prefetch: int,
        answers: Callable[[], Awaitable[object]],
    ) -> None:
        self.stage = stage
        self._broker = broker
        self._queue = queue
        self._on_delivery = on_delivery
        self._prefetch = prefetch
        self._answers = answers
        self._link: Link | None = None
        self._subscription: Subscription | None = None
        self._returning: asyncio.Task[None] | None = None
        self._ending = False
        self._delay_s = BACK_OFF_S[0]
        self.paused: str | None = None
        """Why nothing is consumed although the broker would deliver."""

    @property
    def consuming(self) -> bool:
        """Proven, not merely connected."""
        return self._subscription is not None and self._subscription.consuming

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Raises Unavailable unless it is consuming within ``wait_s``."""
        self._link = await self._broker.open(f"consume:{self.stage}", wait_s=wait_s)
        self._subscription = await self._link.subscribe(lambda: self._queue, self._on_delivery, prefetch=self._prefetch)
        await self._subscription.wait_consuming(wait_s)
        log.info("consuming", stage=self.stage, seats=self._prefetch)

    def pause(self, reason: str, again: bool) -> None:
        """Take nothing until the store answers; what is in hand can still be settled. ``again``: it did answer, and
        yet could not be used, so it is left alone for longer each time.
        """
        if self._ending:
            return
        self.paused = reason
        if self._returning is None:
            first, longest = BACK_OFF_S
            self._delay_s = min(longest, self._delay_s * 2) if again else first
            log.warning("store is away; nothing is taken", stage=self.stage, reason=reason)
            self._returning = asyncio.get_running_loop().create_task(self._return(), name=f"{self.stage} returns")

    async def stop(self) -> None:
        """Take nothing new, for good; what is in hand can still be settled. Idempotent."""
        self._ending = True
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait({self._returning})
        if self._subscription is not None:
            await self._subscription.cancel()

    async def close(self) -> None:
        """Close the link: unsettled deliveries return to their queue. Idempotent."""
        await self.stop()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _return(self) -> None:
        if self._subscription is not None:
            await self._subscription.cancel()
        while True:
            await asyncio.sleep(spread(self._delay_s))
            try:
                await self._answers()
                if self._link is not None:
                    await self._link.close()
                await self.start()
            except Exception as error:
                if not isinstance(error, ParleyError):
                    log.exception("the stage cannot be taken again because of a defect", stage=self.stage)
                self.paused = str(error) or type(error).__name__
                self._delay_s = min(BACK_OFF_S[1], self._delay_s * 2)
            else:
                break
        self.paused = None
        self._returning = None
