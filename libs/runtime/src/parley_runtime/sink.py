"""Events to gateways, in batches: one AMQP message carries the events of all turns that one gateway follows.

A turn's run owns a :class:`Feed`; the sink asks it for its items when it sends. While the broker is slow the items
wait in the feeds, where text merges, so that batches grow and memory does not. A batch is never sent again as bytes:
where one fails, each of its turns gets one snapshot after a back-off.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from parley_protocol.codec import pack
from parley_protocol.events import Batch, Event, Snapshot, TurnEvents
from parley_protocol.ids import TurnKey
from parley_protocol.routes import EVENTS
from parley_protocol.work import MAX_REPLY_TO
from parley_runtime.config import setting
from parley_runtime.errors import ParleyError, Unroutable
from parley_runtime.ports import Broker, Headers, Link, Message
from parley_runtime.run import Output
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

HEADERS: Headers = {"parley-kind": "batch", "parley-v": 1}
BACK_OFF_S = (0.05, 2.0)
"""First and longest wait before the snapshots that follow a failed batch."""

MAX_SNAPSHOT_CHARS = 256 * 1024
"""Characters of snapshots in one batch; the next one starts a new batch."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """How events travel from a worker to gateways."""

    flush_s: float = setting(
        "PARLEY_FLUSH_S",
        0.005,
        "longest wait of answer text for more text; marks and first text never wait",
        unit="seconds",
        zero="at the end of the loop tick",
        minimum=0,
        maximum=1,
    )
    batch_turns: int = setting(
        "PARLEY_BATCH_TURNS", 256, "turns in one batch; that many waiting turns are sent at once", minimum=1
    )
    window: int = setting(
        "PARLEY_BATCH_WINDOW", 8, "batches without a confirm before events wait in this process", minimum=1
    )
    confirm_s: float = setting(
        "PARLEY_BATCH_CONFIRM_S",
        2.0,
        "wait for a batch's confirm before it counts as failed",
        unit="seconds",
        minimum=0.01,
    )
    waiting: int = setting(
        "PARLEY_BATCH_WAITING",
        10_000,
        "turns of one gateway that wait out its back-off, and single events that wait to be sent; more are dropped",
        minimum=1,
    )


class Feed:
    """What one run has to say, and who follows it. ``gateways`` is ordered by arrival; those in ``behind`` get one
    snapshot in place of the next items.
    """

    __slots__ = ("behind", "fence", "gateways", "key", "on_detached", "output", "queued")

    def __init__(
        self,
        key: TurnKey,
        fence: int,
        output: Output,
        gateways: Iterable[str],
        on_detached: Callable[[], None] | None = None,
    ) -> None:
        self.key = key
        self.fence = fence
        self.output = output
        self.gateways: dict[str, None] = dict.fromkeys(gateways)
        self.behind: set[str] = set()
        self.queued = False
        self.on_detached = on_detached

    def follow(self, gateway: str) -> None:
        """Add ``gateway``; the next flush gives it a snapshot. Beyond the bound the earliest one leaves."""
        if gateway not in self.gateways and len(self.gateways) >= MAX_REPLY_TO:
            self.leave(next(iter(self.gateways)))
        self.gateways[gateway] = None
        self.behind.add(gateway)

    def leave(self, gateway: str) -> None:
        """Remove ``gateway``. Generation goes on without any."""
        self.behind.discard(gateway)
        if gateway in self.gateways:
            del self.gateways[gateway]
            if not self.gateways and self.on_detached is not None:
                self.on_detached()

    def mute(self) -> None:
        """Nobody follows any more: nothing further is sent."""
        self.gateways.clear()
        self.behind.clear()


@dataclass(slots=True, eq=False)
class _Lane:
    """One gateway: what the next batch holds, and whether it is being left alone for a while."""

    gateway: str
    turns: list[TurnEvents] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    chars: int = 0
    paused: bool = False
    delay_s: float = 0.0
    waiting: dict[Feed, None] = field(default_factory=dict)


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
        self._dirty: list[Feed] = []
        self._single: list[tuple[str, TurnEvents]] = []
        self._lanes: dict[str, _Lane] = {}
        self._filled: list[_Lane] = []
        self._soon = False
        self._timer = False
        self._stalled = False
        self._paused = 0
        self._closed = False
        self._sending: set[asyncio.Task[None]] = set()
        # Looking up a labelled child costs as much as an event.
        self._count_sent = counter(names.BATCHES).labels("sent").inc
        self._count_events = counter(names.BATCH_EVENTS).inc

    @classmethod
    async def open(cls, broker: Broker, *, sender: str, options: SinkOptions | None = None) -> "EventSink":
        """A sink on its own link. ``sender``: this process's id."""
        return cls(await broker.open("events"), sender=sender, options=options)

    def touch(self, feed: Feed, urgent: bool = False) -> None:
        """``feed`` has something to say; ``urgent``: at the end of this loop tick."""
        if not feed.queued:
            feed.queued = True
            self._dirty.append(feed)
        if urgent or len(self._dirty) >= self._options.batch_turns:
            if not self._soon:
                self._soon = True
                self._loop.call_soon(self._flush_soon)
        elif not self._timer:
            self._timer = True
            self._loop.call_later(self._options.flush_s, self._flush_late)

    def emit(self, gateways: Iterable[str], key: TurnKey, fence: int, event: Event, urgent: bool = True) -> None:
        """One event that belongs to no feed (a terminal from the row, a refusal). Sent at most once."""
        turn = TurnEvents(key, fence, (event,), self._sender)
        for gateway in gateways:
            if len(self._single) >= self._options.waiting:
                counter(names.EVENTS_DROPPED).labels("waiting").inc()
                continue
            self._single.append((gateway, turn))
        if urgent and not self._soon:
            self._soon = True
            self._loop.call_soon(self._flush_soon)
        elif not urgent and not self._timer:
            self._timer = True
            self._loop.call_later(self._options.flush_s, self._flush_late)

    async def drain(self, timeout_s: float) -> bool:
        """Send what waits and await the confirms; False where ``timeout_s`` was not enough."""
        deadline = self._loop.time() + timeout_s
        while self._dirty or self._single or self._sending:
            self._flush()
            if self._sending:
                left = deadline - self._loop.time()
                if left <= 0:
                    return False
                await asyncio.wait(self._sending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def aclose(self, timeout_s: float = 1.0) -> None:
        """Drain for at most ``timeout_s``, drop what is left, close the link. Idempotent."""
        await self.drain(timeout_s)
        self._closed = True
        await self._link.close()
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._options.confirm_s)

    def _flush_soon(self) -> None:
        self._soon = False
        self._flush()

    def _flush_late(self) -> None:
        self._timer = False
        self._flush()

    def _flush(self) -> None:
        if self._closed:
            return
        if len(self._sending) >= self._options.window:
            self._stalled = True
            return
        sender = self._sender
        lanes = self._lanes
        dirty, self._dirty = self._dirty, []
        for feed in dirty:
            feed.queued = False
            if feed.behind or self._paused:
                self._route(feed)
                continue
            items = feed.output.take()
            if not items:
                continue
            turn = TurnEvents(feed.key, feed.fence, items, sender)
            for gateway in feed.gateways:
                lane = lanes.get(gateway) or self._lane(gateway)
                if not lane.turns:
                    self._filled.append(lane)
                lane.turns.append(turn)
                lane.feeds.append(feed)
        for gateway, turn in self._single:
            self._add(self._lane(gateway), turn, None)
        self._single.clear()
        filled, self._filled = self._filled, []
        for lane in filled:
            self._dispatch(lane)

    def _route(self, feed: Feed) -> None:
        """The careful way: some gateway is paused or needs a snapshot."""
        items = feed.output.take()
        turn = TurnEvents(feed.key, feed.fence, items, self._sender)
        whole: Snapshot | None = None
        for gateway in tuple(feed.gateways):
            lane = self._lane(gateway)
            if lane.paused:
                self._wait(lane, feed)
            elif gateway in feed.behind:
                feed.behind.discard(gateway)
                whole = whole or feed.output.snapshot()
                self._add(lane, TurnEvents(feed.key, feed.fence, (whole,), self._sender), feed)
                lane.chars += len(whole.text or "")
                if lane.chars > MAX_SNAPSHOT_CHARS:
                    self._filled.remove(lane)
                    self._dispatch(lane)
            elif items:
                self._add(lane, turn, feed)

    def _lane(self, gateway: str) -> _Lane:
        lane = self._lanes.get(gateway)
        if lane is None:
            if len(self._lanes) >= self._options.waiting:
                self._lanes = {name: lane for name, lane in self._lanes.items() if lane.paused or lane.turns}
            lane = self._lanes[gateway] = _Lane(gateway)
        return lane

    def _add(self, lane: _Lane, turn: TurnEvents, feed: Feed | None) -> None:
        if not lane.turns:
            self._filled.append(lane)
        lane.turns.append(turn)
        if feed is not None:
            lane.feeds.append(feed)

    def _wait(self, lane: _Lane, feed: Feed) -> None:
        feed.behind.add(lane.gateway)
        if len(lane.waiting) < self._options.waiting or feed in lane.waiting:
            lane.waiting[feed] = None
            return
        feed.leave(lane.gateway)
        counter(names.EVENTS_DROPPED).labels("paused").inc()

    def _dispatch(self, lane: _Lane) -> None:
        turns, lane.turns = lane.turns, []
        feeds, lane.feeds = lane.feeds, []
        lane.chars = 0
        body = pack(Batch(tuple(turns)))
        task = self._loop.create_task(self._send(lane, body, feeds, len(turns)))
        self._sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._stalled:
            self._stalled = False
            if not self._soon:
                self._soon = True
                self._loop.call_soon(self._flush_soon)

    async def _send(self, lane: _Lane, body: bytes, feeds: list[Feed], turns: int) -> None:
        message = Message(body, HEADERS, durable=False)
        try:
            await self._link.publish(EVENTS, lane.gateway, message, timeout_s=self._options.confirm_s)
        except Unroutable:
            counter(names.BATCHES).labels("returned").inc()
            self._returned(lane, feeds)
        except ParleyError as error:
            counter(names.BATCHES).labels("failed").inc()
            log.info("event batch failed; snapshots follow", gateway=lane.gateway, reason=type(error).__name__)
            self._failed(lane, feeds)
        else:
            self._count_sent()
            self._count_events(turns)
            lane.delay_s = 0.0

    def _returned(self, lane: _Lane, feeds: list[Feed]) -> None:
        log.info("gateway is gone; its turns go on without it", gateway=lane.gateway, turns=len(feeds))
        for feed in feeds:
            feed.leave(lane.gateway)

    def _failed(self, lane: _Lane, feeds: list[Feed]) -> None:
        for feed in feeds:
            if lane.gateway in feed.gateways:
                self._wait(lane, feed)
        if lane.paused:
            return
        first, longest = BACK_OFF_S
        lane.delay_s = min(longest, lane.delay_s * 2 or first)
        lane.paused = True
        self._paused += 1
        self._loop.call_later(lane.delay_s * random.uniform(0.75, 1.25), self._resume, lane)  # noqa: S311 (jitter)

    def _resume(self, lane: _Lane) -> None:
        lane.paused = False
        self._paused -= 1
        waiting, lane.waiting = lane.waiting, {}
        for feed in waiting:
            self.touch(feed, urgent=True)
