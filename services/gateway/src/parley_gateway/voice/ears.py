"""Streams of audio of this gateway and the workers that listen to them. However many streams: one link, no queue."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

import msgspec

from parley_gateway.identity import Identity
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent, Hears, Listening
from parley_gateway.voice.lane import Lane
from parley_gateway.voice.lease import Lease, holds
from parley_gateway.voice.leasing import Ask, Effect, LetGo, Over, Tell, Timing
from parley_gateway.voice.meter import Meter, check_hearing
from parley_protocol import codec
from parley_protocol.audio import AudioBatch, AudioPart, Hearing, Hearings, Leased, Listen
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId
from parley_protocol.routes import AUDIO, WORK, Stage
from parley_runtime.errors import OutcomeUnknown, ParleyError, Refused, Unroutable
from parley_runtime.ports import Clock, Link, LinkState, Message
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

log = get_logger(__name__)

FULL_S = 0.1
"""How long a worker whose queue is full is left alone."""
LATE_S = 0.5
"""A timer that is so late says that this process stood still: what did not come meanwhile is held against nobody."""


class Ears:
    """``hub.ears``."""

    def __init__(self, gateway: str, settings: EarSettings, clock: Clock, link: Link, heard_by: Link) -> None:
        """``link`` carries leases and audio; ``heard_by`` is the one that the workers' words come by."""
        self._gateway = gateway
        self._settings = settings
        self._clock = clock
        self._link = link
        self._links = (link, heard_by)
        self._timing = Timing(settings.progress_s, settings.lease_s, settings.failover_s)
        self._streams: dict[str, Ear] = {}
        self._owners: Counter[object] = Counter()
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        for each in self._links:
            each.watch(self._on_link)
        gauge(names.STREAMS).set_function(lambda: len(self._streams))

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    @property
    def streams(self) -> int:
        """Open ones."""
        return len(self._streams)

    def open(self, identity: Identity, session: SessionId, hearing: Hearing, hears: Hears, *, kb: str = "") -> Ear:
        """Ask for a worker to listen. ``hears`` is told of it, and of what is heard; audio may be fed at once.

        Raises:
            ProtocolError: ``unsupported`` (format), ``invalid`` (a value of it), ``unavailable`` (the broker is away),
                ``overloaded`` or ``rate_limited`` (streams of this gateway, of this user).
        """
        check_hearing(hearing)
        owner = (identity.tenant, identity.user) if identity.known else None
        self._admit(owner)
        stream, now = secrets.token_hex(8), self.now()
        listen = Listen(
            stream=stream,
            epoch=1,
            gateway=self._gateway,
            tenant=identity.tenant,
            session=session,
            hearing=hearing,
            kb=kb,
            sent_at=self._clock.wall(),
        )
        lease = Lease(stream, self._settings.ring, self._timing)
        ear = Ear(self, lease, listen, Meter(hearing, self._settings, now), hears, owner)
        self._streams[stream] = ear
        self._owners[owner] += 1
        self._promise()
        self.apply(ear, lease.begin(now))
        return ear

    def _admit(self, owner: object) -> None:
        limit = self._settings.identity_streams
        if any(link.state is not LinkState.UP for link in self._links):
            raise ProtocolError(FaultCode.UNAVAILABLE, "the message broker cannot be reached at present; try again")
        if len(self._streams) >= self._settings.streams:
            counter(names.REFUSED).labels("streams").inc()
            raise ProtocolError(FaultCode.OVERLOADED, "this gateway hears as many streams as it may; try again later")
        if owner is not None and limit and self._owners[owner] >= limit:
            counter(names.REFUSED).labels("identity_streams").inc()
            text = f"{limit} streams of audio of this user are open; end one first"
            raise ProtocolError(FaultCode.RATE_LIMITED, text)

    # --- what comes -------------------------------------------------------------------------------------------

    def on_hearings(self, message: Hearings) -> None:
        """What workers say, from the gateway's event queue."""
        now = self.now()
        for part in message.streams:
            ear = self._streams.get(part.stream)
            if ear is not None:
                self.apply(ear, ear.lease.on_events(part.epoch, part.worker, part.events, now))
                self.ready(ear)
            elif holds(part.events):
                self._let_go(part.worker, part.stream, part.epoch)

    def _on_link(self, _: LinkState, __: str) -> None:
        away = any(link.state is not LinkState.UP for link in self._links)
        now = self.now()
        for ear in self._streams.values():
            ear.lease.away = away
            ear.lease.forgive(now)

    def _on_timer(self) -> None:
        now = self.now()
        late, self._timer = now - self._due > LATE_S, None
        for ear in list(self._streams.values()):
            if late:
                ear.lease.forgive(now)
            self._look(ear, now)
        for worker in list(self._lanes):
            self._flush(worker)
        if self._streams or self._lanes:
            self._promise()

    def _look(self, ear: Ear, now: float) -> None:
        effects = ear.lease.tick(now)
        if not ear.ended and ear.meter.idle_s(now) > self._settings.idle_s:
            text = f"no audio came for {self._settings.idle_s:g} s, and the stream was ended; begin another"
            effects += ear.lease.fail(FaultCode.EXPIRED, text)
        self.apply(ear, effects)
        self.ready(ear)

    def _promise(self) -> None:
        if self._timer is None:
            self._due = self.now() + self._settings.flush_s
            self._timer = asyncio.get_running_loop().call_later(self._settings.flush_s, self._on_timer)

    # --- what follows -----------------------------------------------------------------------------------------

    def apply(self, ear: Ear, effects: Iterable[Effect]) -> None:
        """Carry out what a lease asks for, in order."""
        for effect in effects:
            match effect:
                case Ask():
                    self._ask(ear, effect)
                case Tell():
                    self._tell(ear, effect.event)
                case LetGo():
                    self._let_go(effect.worker, ear.lease.stream, effect.epoch)
                case Over():
                    self._forget(ear)

    def _tell(self, ear: Ear, event: HearingEvent | Leased) -> None:
        try:
            ear.tell(Listening(event.engine) if isinstance(event, Leased) else event)
        except Exception:
            log.exception("what was heard could not be told", stream=ear.lease.stream)

    def _forget(self, ear: Ear) -> None:
        ear.ended = True
        if self._streams.pop(ear.lease.stream, None) is not None:
            ear.span.end()
            self._owners[ear.owner] -= 1
            if not self._owners[ear.owner]:
                del self._owners[ear.owner]

    def _ask(self, ear: Ear, ask: Ask) -> None:
        if ask.cause:
            counter(names.LEASES_AGAIN).labels(ask.cause).inc()
            counter(names.AUDIO_REPLAYED).inc(ask.replayed)
            log.info("stream moves", stream=ear.lease.stream, cause=ask.cause, epoch=ask.epoch, replayed=ask.replayed)
        listen = msgspec.structs.replace(
            ear.listen,
            epoch=ask.epoch,
            at=ask.boundary.at,
            utterance=ask.boundary.utterance,
            sent_at=self._clock.wall(),
        )
        self._spawn(self._lease(ear, listen))

    async def _lease(self, ear: Ear, listen: Listen) -> None:
        headers: dict[str, str | int] = {"parley-kind": "listen", "parley-v": 1}
        tracing.inject(headers, ear.context)
        message = Message(codec.pack(listen), headers, expires_s=self._settings.longest_s)
        try:
            await self._link.publish(WORK, Stage.LISTEN, message, timeout_s=self._timing.lease_s)
        except ParleyError as error:
            log.warning("lease not asked for", stream=listen.stream, cause=type(error).__name__)
            code = FaultCode.OVERLOADED if isinstance(error, Refused) else FaultCode.UNAVAILABLE
            unknown = isinstance(error, OutcomeUnknown)
            self.apply(ear, ear.lease.asking_failed(listen.epoch, code, unknown=unknown))

    # --- sending ----------------------------------------------------------------------------------------------

    def ready(self, ear: Ear, *, at_once: bool = False) -> None:
        """The stream may have something to send."""
        run = ear.lease.run
        if run is None or not ear.lease.waiting:
            return
        lane = self._lane(run.worker)
        lane.ears[ear] = None
        if at_once:
            lane.urgent = True
            self._flush(run.worker)

    def _let_go(self, worker: str, stream: str, epoch: int) -> None:
        self._lane(worker).let_go(stream, epoch)
        self._flush(worker)

    def _lane(self, worker: str) -> Lane:
        lane = self._lanes.get(worker)
        if lane is None:
            lane = self._lanes[worker] = Lane()
            self._promise()
        return lane

    def _flush(self, worker: str) -> None:
        lane, now = self._lanes.get(worker), self.now()
        if lane is None or lane.busy or now < lane.not_before:
            return
        dismissed, taken = lane.take(now)
        if not dismissed and not taken:
            if lane.idle:
                del self._lanes[worker]
            return
        lane.busy = True
        self._spawn(self._send(worker, lane, dismissed, taken))

    async def _send(
        self, worker: str, lane: Lane, dismissed: list[AudioPart], taken: list[tuple[Ear, list[AudioPart]]]
    ) -> None:
        parts = (*dismissed, *(part for _, each in taken for part in each))
        body = codec.pack(AudioBatch(self._gateway, parts))
        cause = ""
        try:
            await self._link.publish(AUDIO, worker, Message(body, durable=False))
        except Unroutable:
            cause = "returned"
        except OutcomeUnknown:
            cause = "unconfirmed"
        except ParleyError:
            lane.not_before = self.now() + FULL_S
            for ear, each in taken:
                ear.lease.unsent(each[0].epoch, each)
                lane.ears[ear] = None
            lane.dismissed = [*dismissed, *lane.dismissed]
        finally:
            lane.busy = False
        if cause:
            for ear, each in taken:
                self.apply(ear, ear.lease.sending_failed(each[0].epoch, cause, self.now()))
        if lane.urgent:
            self._flush(worker)

    # --- life -------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("audio task failed", exc_info=error)

    async def close(self) -> None:
        """Let go of every lease, so that the workers' seats are free; give that a moment to be sent."""
        for ear in list(self._streams.values()):
            ear.drop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
