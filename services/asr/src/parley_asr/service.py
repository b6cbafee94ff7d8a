"""The leases of one process: taken as seats allow, heard, answered, moved in time, and let go.

A lease is an unsettled delivery, so that prefetch bounds the streams and refuses the rest by not taking them. Audio
arrives on a queue of this process's own, which is another one after each loss of its connection; what was in the old
one is seen to be missing, and the stream is heard elsewhere.
"""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from parley_asr import intake
from parley_asr.bases import Bases
from parley_asr.engine import Base, Hint, Transcriber
from parley_asr.listener import Listener, Parts
from parley_asr.options import ListenOptions
from parley_asr.outgoing import Outgoing
from parley_asr.spent import Spent, TimedRecognition
from parley_asr.stream import Stream, fault_of
from parley_asr.trace import StreamTrace
from parley_asr.vad import VadModel
from parley_asr.workshop import Workshop, threads_for
from parley_protocol import codec
from parley_protocol.audio import (
    AudioPart,
    Ended,
    Failed,
    Heard,
    Leased,
    Listen,
    Mark,
    Moving,
    Partial,
    Progress,
    StreamEvent,
)
from parley_protocol.faults import ProtocolError
from parley_protocol.ids import DEFAULT_TENANT
from parley_protocol.routes import QueueSpec, Stage, audio_queue
from parley_runtime.errors import EngineTimeout, Expired, ParleyError
from parley_runtime.ports import Broker, Delivery, Link, Subscription
from parley_runtime.store.ports import KnowledgeStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge, histogram
from parley_runtime.telemetry.recent import Recent

STAGE = Stage.LISTEN.value
TICK_S = 0.25
SETTLE_S = 2.0
QUEUE_S = 2.0
"""The queue of a process that has died lives for so long; then its gateways' audio is returned to them."""

log = get_logger(__name__)


class Listening:
    """Holds the streams. Made by :func:`open_listening`."""

    def __init__(
        self,
        process_id: str,
        engine: Transcriber,
        vad: VadModel,
        seats: int,
        queue: QueueSpec,
        options: ListenOptions,
        outgoing_link: Link,
        store: KnowledgeStore,
    ) -> None:
        self.seats = seats
        self.waits = Recent(f"{STAGE}_wait")
        self.finals = Recent("speech_to_final")
        self._id = process_id
        self._engine = engine
        self._vad = vad
        self._queue = queue
        self._options = options
        self._streams: dict[str, Stream] = {}
        self._early: list[Delivery] = []
        self._waiting: dict[str, tuple[Listen, Delivery]] = {}
        """Streams whose knowledge base is being made ready: the last lease of each."""
        self._workshop = Workshop(vad, threads_for(options.threads, engine.abilities.batch))
        self._bases = Bases(store, engine, options.vocabulary_s)
        self._outgoing = Outgoing(outgoing_link, process_id, self._gateway_gone)
        self._links: list[Link] = []
        self._audio: Subscription | None = None
        self._leases: Subscription | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._last: Delivery | None = None
        self._draining = False
        self._empty = asyncio.Event()
        self._busy = gauge(names.SEATS_BUSY).labels(STAGE)
        gauge(names.SEATS).labels(STAGE).set(seats)

    @property
    def busy(self) -> int:
        """Streams at present."""
        return len(self._streams)

    def check(self) -> str | None:
        """For readiness."""
        for subscription, what in ((self._audio, "audio"), (self._leases, "leases")):
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
            on_ready=self._on_ready,
            replaces=True,
        )
        await self._audio.wait_consuming(wait_s)
        leases = await self._open(broker, f"consume:{STAGE}", wait_s)
        self._leases = await leases.subscribe(lambda: self._queue, self._on_listen, prefetch=self.seats)
        await self._leases.wait_consuming(wait_s)
        self._spawn(self._watch(), "watch")
        self._spawn(self._bases.keep(DEFAULT_TENANT), "watch")
        log.info("consuming", stage=STAGE, seats=self.seats)

    async def drain(self, deadline_s: float) -> None:
        """Take no stream; tell the gateways of all that they have to move, and wait until they have."""
        self._draining = True
        if self._leases is not None:
            await self._leases.cancel()
        for stream in tuple(self._streams.values()):
            self._move(stream, "this process is leaving")
        if self._streams:
            self._empty.clear()
            try:
                async with asyncio.timeout(deadline_s):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("streams are left to the broker", streams=len(self._streams))

    async def aclose(self) -> None:
        """Let go of everything and close the links: leases return to their queue. Idempotent."""
        self._draining = True
        for subscription in (self._leases, self._audio):
            if subscription is not None:
                await subscription.cancel()
        for stream in tuple(self._streams.values()):
            self._forget(stream, "left")
        tasks = tuple(self._tasks)
        for task in tasks:
            if task.get_name() == "watch":
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=SETTLE_S)
        await self._bases.aclose()
        await self._outgoing.aclose()
        await self._workshop.aclose()
        for link in reversed(self._links):
            await link.close()

    async def _open(self, broker: Broker, purpose: str, wait_s: float) -> Link:
        link = await broker.open(purpose, wait_s=wait_s)
        self._links.append(link)
        return link

    # ---- leases

    def _on_ready(self, _: QueueSpec) -> None:
        early, self._early = self._early, []
        for delivery in early:
            self._on_listen(delivery)

    def _on_listen(self, delivery: Delivery) -> None:
        if self._audio is None or not self._audio.consuming:
            self._early.append(delivery)  # nobody could send us audio yet
            return
        try:
            listen = codec.unpack_listen(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels(STAGE).inc()
            log.warning("message cannot be used; dropped", queue=delivery.queue, reason=error.code.value)
            self._spawn(delivery.reject())
            return
        held = self._streams.get(listen.stream)
        if held is not None and held.listen.epoch == listen.epoch and not held.delivery.alive:
            held.delivery = delivery  # the broker has given back to us what it took away
            return
        if held is not None and held.listen.epoch >= listen.epoch:
            self._spawn(delivery.ack())
            return
        if held is not None:
            self._let_go(held, "superseded")
        if listen.kb:
            self._wait(listen, delivery)
        else:
            self._take(listen, delivery)

    def _wait(self, listen: Listen, delivery: Delivery) -> None:
        """One that is asked for again takes the place of the one before, and waits no longer than that."""
        before = self._waiting.get(listen.stream)
        if before is not None and before[1].alive and before[0].epoch > listen.epoch:
            self._spawn(delivery.ack())
            return
        self._waiting[listen.stream] = listen, delivery
        if before is None:
            self._spawn(self._take_with_base(listen.stream, Base(listen.tenant, listen.kb)))
        else:
            self._spawn(before[1].ack())

    async def _take_with_base(self, stream: str, base: Base) -> None:
        try:
            await self._bases.ready(base)
        finally:
            listen, delivery = self._waiting.pop(stream)
        if delivery.alive:
            self._take(listen, delivery)

    def _take(self, listen: Listen, delivery: Delivery) -> None:
        waited_ms = max(0.0, (time.time() - listen.sent_at) * 1000) if listen.sent_at else 0.0
        histogram(names.JOB_WAIT_SECONDS).labels(STAGE).observe(waited_ms / 1000)
        self.waits.add(waited_ms)
        spent = Spent()
        try:
            listener = self._listener(listen, spent)
        except ParleyError as error:
            counter(names.JOBS).labels(STAGE, "refused").inc()
            self._outgoing.tell(listen.gateway, listen.stream, listen.epoch, Failed(error.fault()))
            self._spawn(delivery.ack())
            return
        stream = Stream(
            listen,
            delivery,
            listener,
            self._options,
            spent=spent,
            trace=StreamTrace(listen, delivery.headers, self._engine.name),
            on_events=self._on_events,
            on_failed=self._on_failed,
        )
        self._streams[listen.stream] = stream
        self._busy.set(len(self._streams))
        self._tell(stream, Leased(self._engine.name, round(waited_ms, 2)))
        if self._draining:
            self._move(stream, "this process is leaving")

    def _listener(self, listen: Listen, spent: Spent) -> Listener:
        hearing = listen.hearing
        intake.check(hearing)
        if hearing.engine not in ("", self._engine.name):
            raise intake.Unsupported(f"No recogniser {hearing.engine[:40]!r} listens here.")
        if not self._engine.abilities.hears(hearing.language):
            heard = ", ".join(self._engine.abilities.languages)
            raise intake.Unsupported(f"The language {hearing.language[:20]!r} is not heard here: speak {heard}.")
        base = Base(listen.tenant, listen.kb) if listen.kb else None
        hint = Hint(hearing.language, hearing.prompt, base)
        parts = Parts(self._vad.stream, lambda: TimedRecognition(self._engine.open(hint), spent))
        return Listener(hearing, listen.at, listen.utterance, parts)

    def _move(self, stream: Stream, reason: str) -> None:
        if stream.moving_since is None:
            stream.moving_since = asyncio.get_running_loop().time()
            self._tell(stream, Moving(reason))

    def _let_go(self, stream: Stream, outcome: str) -> None:
        """The lease is over: its delivery is settled."""
        self._forget(stream, outcome)
        self._spawn(stream.delivery.ack())

    def _forget(self, stream: Stream, outcome: str) -> None:
        counter(names.JOBS).labels(STAGE, outcome).inc()
        stream.trace.end(outcome)
        stream.over = True
        if self._streams.get(stream.listen.stream) is stream:
            del self._streams[stream.listen.stream]
        self._busy.set(len(self._streams))
        self._workshop.touch(stream)
        if not self._streams:
            self._empty.set()

    def _gateway_gone(self, gateway: str) -> None:
        for stream in tuple(self._streams.values()):
            if stream.listen.gateway == gateway:
                self._let_go(stream, "gateway gone")

    # ---- audio

    def _on_audio(self, delivery: Delivery) -> None:
        if self._last is None:
            self._spawn(self._settle())
        self._last = delivery
        try:
            batch = codec.unpack_audio(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels("audio").inc()
            log.warning("audio cannot be decoded; dropped", code=error.code.value)
            return
        for part in batch.parts:
            stream = self._streams.get(part.stream)
            if stream is not None and stream.listen.epoch == part.epoch:
                self._on_part(stream, part)

    def _on_part(self, stream: Stream, part: AudioPart) -> None:
        if part.mark is Mark.DROP:
            self._outgoing.forget(stream.listen.gateway, stream.listen.stream, stream.listen.epoch)
            self._let_go(stream, "dropped")
            return
        try:
            stream.add(part)
        except ParleyError as error:
            self._fail(stream, error)
            return
        self._tell(stream, Progress(stream.taken, stream.keep, stream.utterance))
        self._workshop.touch(stream)

    async def _settle(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            await last.ack(multiple=True)

    # ---- what is heard

    def _on_events(self, stream: Stream, events: list[StreamEvent]) -> None:
        for event in events:
            if isinstance(event, Partial):
                counter(names.PARTIALS).inc()
            elif isinstance(event, Heard):
                self.finals.add(event.work_ms)
                histogram(names.SPEECH_FINAL_SECONDS).observe(event.work_ms / 1000)
                counter(names.UTTERANCES).labels("text" if event.text else "empty").inc()
        stream.trace.heard(events)
        ended = isinstance(events[-1], Ended)
        if not ended and any(isinstance(event, Heard) for event in events):
            events.append(Progress(stream.taken, stream.keep, stream.utterance))
        self._tell(stream, *events)
        if ended:
            histogram(names.STREAM_FACTOR).observe(stream.factor)
            self._let_go(stream, "done")

    def _on_failed(self, stream: Stream, error: BaseException) -> None:
        if not isinstance(error, ParleyError):
            log.error("a stream failed on a defect", exc_info=error, stream=stream.listen.stream)
        self._fail(stream, fault_of(error))

    def _fail(self, stream: Stream, error: ParleyError) -> None:
        fault = error.fault()
        counter(names.STREAM_FAILURES).labels(fault.code).inc()
        log.info("stream failed", stream=stream.listen.stream, epoch=stream.listen.epoch, code=fault.code)
        self._tell(stream, Failed(fault))
        self._let_go(stream, "failed")

    def _tell(self, stream: Stream, *events: StreamEvent) -> None:
        self._outgoing.tell(stream.listen.gateway, stream.listen.stream, stream.listen.epoch, *events)

    # ---- time

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = asyncio.get_running_loop().time()
            for stream in tuple(self._streams.values()):
                self._look(stream, now)

    def _look(self, stream: Stream, now: float) -> None:
        options = self._options
        if stream.delivery.alive:
            stream.last_alive = now
        if now - stream.last_alive > options.grace_s:
            self._forget(stream, "lost")
        elif stream.moving_since is not None:
            if now - stream.moving_since > options.grace_s:
                self._let_go(stream, "moved")
        elif stream.stuck_s > options.stuck_s:
            self._fail(stream, EngineTimeout("The recogniser does not come back."))
        elif options.idle_s and now - stream.last_audio > options.idle_s:
            self._fail(stream, Expired(f"No audio came for {options.idle_s:g} seconds."))
        elif now - stream.since > options.lease_s:
            self._move(stream, "the lease is old")

    def _spawn(self, work: Coroutine[Any, Any, object], name: str = "settle") -> None:
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task ended by a defect", task=task.get_name(), exc_info=task.exception())
