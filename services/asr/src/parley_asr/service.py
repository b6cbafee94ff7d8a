"""The leases of one process: taken as seats allow, heard, answered, moved in time, and let go.

A lease is an unsettled delivery, so that prefetch bounds the streams and refuses the rest by not taking them. Audio
arrives on a queue of this process's own, which is another one after each loss of its connection; what was in the old
one is seen to be missing, and the stream is heard elsewhere.
"""

import asyncio
import secrets

from parley_asr.bases import Bases
from parley_asr.engine import Transcriber
from parley_asr.leases import Leases, Listeners
from parley_asr.options import ListenOptions
from parley_asr.streams import Streams
from parley_asr.telling import STAGE
from parley_asr.vad import VadModel
from parley_asr.watch import watch
from parley_asr.workshop import Workshop, threads_for
from parley_protocol import codec
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import DEFAULT_TENANT
from parley_protocol.routes import QueueSpec, audio_queue
from parley_runtime.ports import Broker, Delivery, Link, Subscription
from parley_runtime.store.ports import KnowledgeStore
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

SETTLE_S = 2.0
QUEUE_S = 2.0
"""The queue of a process that has died lives for so long; then its gateways' audio is returned to them."""

log = get_logger(__name__)


class Listening:
    """The stage. ``queue`` is the one of leases; ``link`` carries what is heard."""

    def __init__(
        self,
        process_id: str,
        engine: Transcriber,
        vad: VadModel,
        seats: int,
        queue: QueueSpec,
        options: ListenOptions,
        link: Link,
        store: KnowledgeStore,
    ) -> None:
        self.seats = seats
        self._id = process_id
        self._queue = queue
        self._options = options
        self._watching, self._settling = Tasks("watch"), Tasks("settle")
        self._workshop = Workshop(vad, threads_for(options.threads, engine.abilities.batch))
        self._bases = Bases(store, engine, options.vocabulary_s)
        self.streams = Streams(process_id, link, self._workshop, self._settling)
        self.leases = Leases(
            self.streams,
            Listeners(engine, vad),
            self._bases,
            options,
            self._settling,
            reachable=lambda: self._audio is not None and self._audio.consuming,
        )
        self._links: list[Link] = []
        self._audio: Subscription | None = None
        self._leased: Subscription | None = None
        self._last: Delivery | None = None
        gauge(names.SEATS).labels(STAGE).set(seats)

    @property
    def busy(self) -> int:
        """Streams at present."""
        return len(self.streams)

    @property
    def latencies(self) -> dict[str, float]:
        """Quantiles of the last ones."""
        return {**self.leases.waits.quantiles(), **self.streams.teller.finals.quantiles()}

    def check(self) -> str | None:
        """For readiness."""
        for subscription, what in ((self._audio, "audio"), (self._leased, "leases")):
            if subscription is None or not subscription.consuming:
                return f"not consuming {what}; see the broker links' state"
        return None

    async def start(self, broker: Broker, *, wait_s: float = 30.0) -> None:
        """Consume audio, then leases. Raises Unavailable unless both are within ``wait_s``."""
        audio = await self._open(broker, "consume:audio", wait_s)
        self._audio = await audio.subscribe(
            lambda: audio_queue(self._id, secrets.token_hex(4), expires_s=QUEUE_S),
            self._on_audio,
            prefetch=self._options.audio_prefetch,
            on_ready=lambda _: self.leases.on_reachable(),
            replaces=True,
        )
        await self._audio.wait_consuming(wait_s)
        leases = await self._open(broker, f"consume:{STAGE}", wait_s)
        self._leased = await leases.subscribe(lambda: self._queue, self.leases.on_lease, prefetch=self.seats)
        await self._leased.wait_consuming(wait_s)
        self._watching.spawn(watch(self.streams, self._options))
        self._watching.spawn(self._bases.keep(DEFAULT_TENANT))
        log.info("consuming", stage=STAGE, seats=self.seats)

    async def drain(self, deadline_s: float) -> None:
        """Take no stream; tell the gateways of all that they have to move, and wait until they have."""
        self.streams.draining = True
        if self._leased is not None:
            await self._leased.cancel()
        try:
            async with asyncio.timeout(deadline_s):
                await self.streams.drained()
        except TimeoutError:
            log.warning("streams are left to the broker", streams=self.busy)

    async def aclose(self) -> None:
        """Let go of everything and close the links: leases return to their queue. Idempotent."""
        self.streams.draining = True
        for subscription in (self._leased, self._audio):
            if subscription is not None:
                await subscription.cancel()
        for stream in self.streams:
            self.streams.forget(stream, "left")
        await self._watching.close()
        await self._settling.close(SETTLE_S)
        await self._bases.aclose()
        await self.streams.teller.aclose()
        await self._workshop.aclose()
        for link in reversed(self._links):
            await link.close()

    async def _open(self, broker: Broker, purpose: str, wait_s: float) -> Link:
        link = await broker.open(purpose, wait_s=wait_s)
        self._links.append(link)
        return link

    def _on_audio(self, delivery: Delivery) -> None:
        if self._last is None:
            self._settling.spawn(self._settle())
        self._last = delivery
        try:
            batch = codec.unpack_audio(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels("audio").inc()
            log.warning("audio cannot be decoded; dropped", code=error.code.value)
            return
        for part in batch.parts:
            self.streams.feed(part)

    async def _settle(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await last.ack(multiple=True)
