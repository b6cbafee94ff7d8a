"""Batches on their way to gateways: one lane for each gateway, a window over all, a back-off for those that fail."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from parley_protocol.codec import pack
from parley_protocol.events import Batch, TurnEvents
from parley_protocol.routes import EVENTS
from parley_runtime.errors import ParleyError, Unroutable
from parley_runtime.feed import Feed, SinkOptions
from parley_runtime.jitter import spread
from parley_runtime.ports import Headers, Link, Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

HEADERS: Headers = {"parley-kind": "batch", "parley-v": 1}
BACK_OFF_S = (0.05, 2.0)
"""First and longest wait before the snapshots that follow a failed batch."""

MAX_BATCH_CHARS = 256 * 1024
"""Characters of snapshots and terminals in one batch; the next one starts a new batch."""

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Lane:
    """One gateway: what its next batch holds, and whether it is being left alone for a while."""

    gateway: str
    turns: list[TurnEvents] = field(default_factory=list)
    feeds: list[Feed] = field(default_factory=list)
    chars: int = 0
    """Characters of snapshots and terminals in ``turns``."""
    paused: bool = False
    losing: bool = False
    """More turns wait for the pause's end than may: said once in each pause."""
    delay_s: float = 0.0
    waiting: dict[Feed, None] = field(default_factory=dict)
    """Feeds that get a snapshot when the pause is over."""


class Lanes:
    """All lanes of a sink. ``on_room`` is called when a confirm makes room in the window, ``on_due`` for each feed
    whose gateway is to be tried again.
    """

    def __init__(
        self, link: Link, options: SinkOptions, on_room: Callable[[], None], on_due: Callable[[Feed], None]
    ) -> None:
        self.paused = 0
        """Lanes in their back-off."""
        self.sending: set[asyncio.Task[None]] = set()
        self.by_gateway: dict[str, Lane] = {}
        self.filled: list[Lane] = []
        """Lanes that have something to send."""
        self._link = link
        self._options = options
        self._on_room = on_room
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        # Looking up a labelled child costs as much as an event.
        self._count_sent = counter(names.BATCHES).labels("sent").inc
        self._count_events = counter(names.BATCH_EVENTS).inc

    @property
    def full(self) -> bool:
        """Whether the window is full."""
        return len(self.sending) >= self._options.window

    def lane(self, gateway: str) -> Lane:
        """The lane of ``gateway``."""
        found = self.by_gateway.get(gateway)
        if found is None:
            if len(self.by_gateway) >= self._options.waiting:
                self.by_gateway = {name: lane for name, lane in self.by_gateway.items() if lane.paused or lane.turns}
            found = self.by_gateway[gateway] = Lane(gateway)
        return found

    def add(self, lane: Lane, turn: TurnEvents, feed: Feed | None, *, chars: int = 0) -> None:
        """Put ``turn`` into the lane's next batch. A batch that is large by now (``chars``: of whole texts in
        ``turn``) is sent at once.
        """
        if not lane.turns:
            self.filled.append(lane)
        lane.turns.append(turn)
        if feed is not None:
            lane.feeds.append(feed)
        lane.chars += chars
        if lane.chars > MAX_BATCH_CHARS:
            self.filled.remove(lane)
            self._dispatch(lane)

    def wait(self, lane: Lane, feed: Feed) -> None:
        """``feed`` gets a snapshot once the lane's pause is over; beyond the bound the gateway loses it."""
        feed.behind.add(lane.gateway)
        if len(lane.waiting) < self._options.waiting or feed in lane.waiting:
            lane.waiting[feed] = None
            return
        feed.leave(lane.gateway)
        counter(names.EVENTS_DROPPED).labels("paused").inc()
        if not lane.losing:
            lane.losing = True
            log.warning("turns go on without a gateway: too many wait for it", gateway=lane.gateway)

    def send(self) -> None:
        """Send what the lanes hold, one batch for each."""
        filled, self.filled = self.filled, []
        for lane in filled:
            self._dispatch(lane)

    def _dispatch(self, lane: Lane) -> None:
        turns, lane.turns = lane.turns, []
        feeds, lane.feeds = lane.feeds, []
        lane.chars = 0
        body = pack(Batch(tuple(turns)))
        task = self._loop.create_task(self._publish(lane, body, feeds, turns))
        self.sending.add(task)
        task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self.sending.discard(task)
        self._on_room()

    async def _publish(self, lane: Lane, body: bytes, feeds: list[Feed], turns: list[TurnEvents]) -> None:
        message = Message(body, HEADERS, durable=False)
        try:
            await self._link.publish(EVENTS, lane.gateway, message, timeout_s=self._options.confirm_s)
        except Unroutable:
            counter(names.BATCHES).labels("returned").inc()
            log.info("gateway is gone; its turns go on without it", gateway=lane.gateway, turns=len(turns))
            for feed in feeds:
                feed.leave(lane.gateway)
        except ParleyError as error:
            counter(names.BATCHES).labels("failed").inc()
            log.info("event batch failed; snapshots follow", gateway=lane.gateway, reason=type(error).__name__)
            self._failed(lane, feeds)
        else:
            self._count_sent()
            self._count_events(sum([len(turn.events) for turn in turns]))
            lane.delay_s = 0.0

    def _failed(self, lane: Lane, feeds: list[Feed]) -> None:
        for feed in feeds:
            if lane.gateway in feed.gateways:
                self.wait(lane, feed)
        if lane.paused:
            return
        first, longest = BACK_OFF_S
        lane.delay_s = min(longest, lane.delay_s * 2 or first)
        lane.paused = True
        self.paused += 1
        self._loop.call_later(spread(lane.delay_s), self._resume, lane)

    def _resume(self, lane: Lane) -> None:
        lane.paused = lane.losing = False
        self.paused -= 1
        waiting, lane.waiting = lane.waiting, {}
        for feed in waiting:
            self._on_due(feed)
