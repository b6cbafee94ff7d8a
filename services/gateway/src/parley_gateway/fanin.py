"""The gateway's one event queue: batches of events of all its turns, and replies to its calls.

A batch is decoded once and its events go to their turns by key. It is acknowledged when it has been taken in: order and
completeness come from the events' numbers and the rows, never from the queue.
"""

import asyncio
import secrets
from collections import Counter

from parley_gateway import report
from parley_gateway.calls import Calls
from parley_gateway.core import flow
from parley_gateway.core.entry import Entry, Phase
from parley_gateway.core.turn import Verdict
from parley_gateway.dispatch import Dispatch, touch
from parley_gateway.registry import Registry
from parley_gateway.voice.ears import Ears
from parley_gateway.voice.mouth import Mouths
from parley_protocol.audio import GatewayMessage, Hearings, Spoken
from parley_protocol.codec import unpack_gateway
from parley_protocol.control import Leave
from parley_protocol.events import Batch, Delta, Terminal, TurnEvents
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import QueueSpec, event_queue
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Clock, Delivery, Link, Subscription
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)


class FanIn:
    """Consumes while ``start`` ed; every loss of its queue is followed by a watch of every unfinished turn."""

    def __init__(
        self,
        dispatch: Dispatch,
        registry: Registry,
        calls: Calls,
        ears: Ears,
        mouths: Mouths,
        control: ControlPlane,
        clock: Clock,
        *,
        prefetch: int,
    ) -> None:
        self._dispatch = dispatch
        self._registry = registry
        self._calls = calls
        self._ears = ears
        self._mouths = mouths
        self._control = control
        self._clock = clock
        self._prefetch = prefetch
        self._subscription: Subscription | None = None
        self._last: Delivery | None = None
        self._epochs = 0
        self._verdicts: Counter[str] = Counter()
        self._acks: asyncio.Task[None] | None = None

    async def start(self, link: Link, *, wait_s: float = 30.0) -> None:
        """Consume this gateway's event queue.

        Raises:
            Unavailable: not consuming within ``wait_s``.
        """
        self._subscription = await link.subscribe(
            self._queue, self.on_delivery, prefetch=self._prefetch, on_ready=self._on_ready, replaces=True
        )
        await self._subscription.wait_consuming(wait_s)

    def check(self) -> str | None:
        """For readiness: None while events are being consumed."""
        if self._subscription is not None and self._subscription.consuming:
            return None
        return "events are not being consumed; is the broker there?"

    async def close(self) -> None:
        """Stop consuming."""
        if self._subscription is not None:
            await self._subscription.cancel()
        if self._acks is not None:
            await asyncio.wait({self._acks})

    def _queue(self) -> QueueSpec:
        return event_queue(self._dispatch.gateway, secrets.token_hex(4))

    def _on_ready(self, _: QueueSpec) -> None:
        self._epochs += 1
        if self._epochs > 1:
            self._dispatch.watch_all("reconnect")

    def on_delivery(self, delivery: Delivery) -> None:
        """One message, on the loop."""
        self._last = delivery
        try:
            self._take(unpack_gateway(delivery.body))
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels("events").inc()
            log.warning("event message cannot be decoded; dropped", code=error.code.value)
        finally:
            if self._acks is None:  # after the sockets' turn, which taking it in has called for
                self._acks = asyncio.get_running_loop().create_task(self._settle())

    def _take(self, message: GatewayMessage) -> None:
        if isinstance(message, Batch):
            self._on_batch(message)
        elif isinstance(message, Hearings):
            self._ears.on_hearings(message)
        elif isinstance(message, Spoken):
            if not self._mouths.on_spoken(message):
                self._verdicts["unknown"] += 1  # nobody here has asked for it, or still listens
        elif not self._calls.on_reply(message):
            self._verdicts["late_reply"] += 1
            log.info("reply that nobody waits for", call=message.call)

    async def _settle(self) -> None:
        """Acknowledge everything taken in so far with one frame, and publish the counts of verdicts."""
        self._acks = None
        last, self._last = self._last, None
        verdicts, self._verdicts = self._verdicts, Counter()
        for verdict, number in verdicts.items():
            counter(names.EVENTS_IN).labels(verdict).inc(number)
        if last is not None:
            await last.ack(multiple=True)

    def _on_batch(self, batch: Batch) -> None:
        now = self._clock.monotonic()
        turns = self._registry.turns
        extended = 0
        for part in batch.turns:
            entry = turns.get(part.key)
            if entry is None:
                self._unknown(part)
                continue
            extended += self._on_turn(entry, part, now)
        self._verdicts[Verdict.EXTENDED] += extended

    def _on_turn(self, entry: Entry, part: TurnEvents, now: float) -> int:
        """Events of one turn; returns how many went the short way: the expected delta of a running turn."""
        turn, fence, extended = entry.turn, part.fence, 0
        running = entry.phase is not Phase.PUBLISHING and not entry.others
        for event in part.events:
            if type(event) is Delta and running and turn.extend(fence, event):
                extended += 1
                continue
            silent = not entry.first_at
            verdict, effects = flow.on_event(entry, fence, event, part.sender, now)
            if silent and entry.first_at:
                report.first(entry)
            running = entry.phase is not Phase.PUBLISHING and not entry.others
            self._verdicts[verdict] += 1
            self._dispatch.apply(effects)
            self._dispatch.promise(entry)
        if extended:
            entry.watch.flowed(now)
            if not entry.first_at:
                entry.first_at = now
                report.first(entry)
            touch(entry)
        return extended

    def _unknown(self, part: TurnEvents) -> None:
        """A turn that nobody here follows: its sender need not send it here."""
        self._verdicts["unknown"] += len(part.events)
        if part.sender and not all(isinstance(event, Terminal) for event in part.events):
            self._control.post(part.sender, Leave(part.key, self._dispatch.gateway))
