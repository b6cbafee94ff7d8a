"""Events to gateways, in batches: one AMQP message carries the events of all turns that one gateway follows.

A turn's run owns a :class:`Feed`; the sink asks it for its items when it sends. While the broker is slow the items
wait in the feeds, where text merges, so that batches grow and memory does not. A batch is never sent again as bytes:
where one fails, each of its turns gets one snapshot after a back-off.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

from parley_protocol.events import Event, Snapshot, Terminal, TurnEvents
from parley_protocol.ids import TurnKey
from parley_runtime.feed import Feed, SinkOptions
from parley_runtime.lanes import Lanes
from parley_runtime.ports import Broker, Link
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

__all__ = ["EventSink", "Feed", "SinkOptions"]

log = get_logger(__name__)


class EventSink:
    """Sends feeds' items and single events. Nothing here is awaited by whoever has something to say.

    Guaranteed: items of a feed leave in order, each to every gateway that follows at that moment; urgent ones in the
    tick after they were touched unless ``window`` batches are unconfirmed. Not guaranteed: arrival.
    """

    def __init__(self, link: Link, *, sender: str, options: SinkOptions | None = None) -> None:
        self._link = link
        self._sender = sender
        self._options = options or SinkOptions()
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(link, self._options, self._on_room, partial(self.touch, urgent=True))
        self._dirty: list[Feed] = []
        self._single: list[tuple[str, TurnEvents]] = []
        self._soon = False
        self._timer = False
        self._stalled = False
        self._closed = False
        self._dropping = False

    @classmethod
    async def open(cls, broker: Broker, *, sender: str, options: SinkOptions | None = None) -> "EventSink":
        """A sink on its own link. ``sender``: this process's id."""
        return cls(await broker.open("events"), sender=sender, options=options)

    def touch(self, feed: Feed, urgent: bool = False) -> None:
        """``feed`` has something to say; ``urgent``: at the end of this loop tick."""
        if not feed.queued:
            feed.queued = True
            self._dirty.append(feed)
        self._schedule(urgent or len(self._dirty) >= self._options.batch_turns)

    def emit(self, gateways: Iterable[str], key: TurnKey, fence: int, event: Event, urgent: bool = True) -> None:
        """One event that belongs to no feed (a terminal from the row, a refusal). Sent at most once."""
        turn = TurnEvents(key, fence, (event,), self._sender)
        for gateway in gateways:
            if len(self._single) >= self._options.waiting:
                self._drop("waiting", 1)
                continue
            self._single.append((gateway, turn))
        self._schedule(urgent)

    async def drain(self, timeout_s: float) -> bool:
        """Send what waits and await the confirms; False where ``timeout_s`` was not enough."""
        deadline = self._loop.time() + timeout_s
        while self._dirty or self._single or self._lanes.sending:
            if self._closed:
                return False
            self._flush()
            if self._lanes.sending:
                left = deadline - self._loop.time()
                if left <= 0:
                    return False
                await asyncio.wait(self._lanes.sending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def aclose(self, timeout_s: float = 1.0) -> None:
        """Drain for at most ``timeout_s``, drop what is left (counted), close the link. Idempotent."""
        await self.drain(timeout_s)
        self._closed = True
        left = len(self._dirty) + len(self._single)
        self._dirty.clear()
        self._single.clear()
        if left:
            self._drop("closed", left)
        await self._link.close()
        if self._lanes.sending:
            await asyncio.wait(self._lanes.sending, timeout=self._options.confirm_s)

    def _drop(self, reason: str, count: int) -> None:
        """Counted each time, logged once until events leave again."""
        counter(names.EVENTS_DROPPED).labels(reason).inc(count)
        if not self._dropping:
            self._dropping = True
            log.warning("events dropped; their gateways watch the rows", reason=reason)

    def _schedule(self, soon: bool) -> None:
        if soon:
            if not self._soon:
                self._soon = True
                self._loop.call_soon(self._flush_soon)
        elif not self._timer:
            self._timer = True
            self._loop.call_later(self._options.flush_s, self._flush_late)

    def _flush_soon(self) -> None:
        self._soon = False
        self._flush()

    def _flush_late(self) -> None:
        self._timer = False
        self._flush()

    def _on_room(self) -> None:
        if self._stalled:
            self._stalled = False
            self._schedule(True)

    def _flush(self) -> None:
        lanes = self._lanes
        if self._closed:
            return
        if lanes.full:
            self._stalled = True
            return
        sender, by_gateway = self._sender, lanes.by_gateway
        dirty, self._dirty = self._dirty, []
        for feed in dirty:
            if feed.behind or lanes.paused:
                self._route(feed)
                continue
            feed.queued = False
            items = feed.output.take()
            if not items:
                continue
            turn = TurnEvents(feed.key, feed.fence, items, sender)
            for gateway in feed.gateways:
                lane = by_gateway.get(gateway) or lanes.lane(gateway)
                if not lane.turns:
                    lanes.filled.append(lane)
                lane.turns.append(turn)
                lane.feeds.append(feed)
        for gateway, turn in self._single:
            lanes.add(lanes.lane(gateway), turn, None, chars=_chars(turn))
        self._single.clear()
        self._dropping = False
        lanes.send()

    def _route(self, feed: Feed) -> None:
        """The careful way: some gateway is paused or needs a snapshot. Whole texts fill the window; then the others'
        next items go before further ones.
        """
        lanes = self._lanes
        if lanes.full:
            self._dirty.append(feed)
            self._stalled = True
            return
        feed.queued = False
        items = feed.output.take()
        turn = TurnEvents(feed.key, feed.fence, items, self._sender)
        whole: Snapshot | None = None
        for gateway in tuple(feed.gateways):
            lane = lanes.lane(gateway)
            if lane.paused:
                lanes.wait(lane, feed)
            elif gateway in feed.behind:
                feed.behind.discard(gateway)
                whole = whole or feed.output.snapshot()
                snapshot = TurnEvents(feed.key, feed.fence, (whole,), self._sender)
                lanes.add(lane, snapshot, feed, chars=len(whole.text or ""))
            elif items:
                lanes.add(lane, turn, feed)


def _chars(turn: TurnEvents) -> int:
    """Characters of the whole texts in ``turn``."""
    return sum(
        len(event.text or "") + sum(len(source.text) for source in event.sources)
        for event in turn.events
        if isinstance(event, Terminal)
    )
