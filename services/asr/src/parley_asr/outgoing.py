"""What is heard, on its way to gateways: one message at a time to each, so that its order holds, and what comes up
meanwhile travels together in the next one.

A message whose fate is not known is sent again: gateways know an utterance by its number. One that no queue takes means
that its gateway is gone.
"""

import asyncio
from collections.abc import Callable

from parley_protocol.audio import Hearings, Partial, Progress, StreamEvent, StreamEvents
from parley_protocol.codec import pack
from parley_protocol.routes import EVENTS
from parley_runtime.errors import ParleyError, Unroutable
from parley_runtime.jitter import spread
from parley_runtime.ports import Headers, Link, Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

HEADERS: Headers = {"parley-kind": "hearings", "parley-v": 1}
CONFIRM_S = 2.0
BACK_OFF_S = (0.05, 1.0)
GIVE_UP_S = 10.0
"""A gateway that nothing reaches for so long is given up: it has asked others by then."""

StreamId = tuple[str, int]

log = get_logger(__name__)


class _Lane:
    """What waits for one gateway."""

    def __init__(self) -> None:
        self.waiting: dict[StreamId, list[StreamEvent]] = {}
        self.task: asyncio.Task[None] | None = None


class Outgoing:
    """Sends as ``worker``. ``on_gone`` is called with a gateway that cannot be told anything."""

    def __init__(self, link: Link, worker: str, on_gone: Callable[[str], None]) -> None:
        self._link = link
        self._worker = worker
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[str, _Lane] = {}

    def tell(self, gateway: str, stream: str, epoch: int, *events: StreamEvent) -> None:
        """Say ``events`` at the end of this tick, or with whatever comes up until the message before has arrived."""
        lane = self._lanes.get(gateway)
        if lane is None:
            lane = self._lanes[gateway] = _Lane()
        told = lane.waiting.setdefault((stream, epoch), [])
        for event in events:
            if told and _replaces(event, told[-1]):
                told[-1] = event
            else:
                told.append(event)
        if lane.task is None:
            lane.task = self._loop.create_task(self._send(gateway, lane), name="hearings")

    def forget(self, gateway: str, stream: str, epoch: int) -> None:
        """Nobody wants to know of this stream any more."""
        lane = self._lanes.get(gateway)
        if lane is not None:
            lane.waiting.pop((stream, epoch), None)

    async def aclose(self, timeout_s: float = 1.0) -> None:
        """Wait for what is on its way, for so long at most. Idempotent."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._link.close()

    async def _send(self, gateway: str, lane: _Lane) -> None:
        try:
            while lane.waiting:
                waiting, lane.waiting = lane.waiting, {}
                parts = (
                    StreamEvents(stream, epoch, self._worker, tuple(told)) for (stream, epoch), told in waiting.items()
                )
                if not await self._publish(gateway, pack(Hearings(tuple(parts)))):
                    lane.waiting.clear()
                    self._on_gone(gateway)
        finally:
            lane.task = None
            if self._lanes.get(gateway) is lane:
                del self._lanes[gateway]

    async def _publish(self, gateway: str, body: bytes) -> bool:
        delay, longest = BACK_OFF_S
        until = self._loop.time() + GIVE_UP_S
        while True:
            try:
                message = Message(body, HEADERS, durable=False)
                await self._link.publish(EVENTS, gateway, message, timeout_s=CONFIRM_S)
            except Unroutable:
                counter(names.BATCHES).labels("returned").inc()
                log.info("gateway is gone; its streams are let go", gateway=gateway)
                return False
            except ParleyError as error:
                counter(names.BATCHES).labels("failed").inc()
                if self._loop.time() >= until:
                    log.warning("gateway cannot be told anything", gateway=gateway, reason=type(error).__name__)
                    return False
                await asyncio.sleep(spread(delay))
                delay = min(longest, delay * 2)
            else:
                counter(names.BATCHES).labels("sent").inc()
                return True


def _replaces(event: StreamEvent, before: StreamEvent) -> bool:
    """Whether whoever hears ``event`` need not have heard ``before``."""
    if isinstance(event, Progress):
        return isinstance(before, Progress)
    return (
        isinstance(event, Partial)
        and isinstance(before, Partial)
        and event.utterance == before.utterance
        and not before.paused
        and not event.paused
    )
