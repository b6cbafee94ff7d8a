"""Streams of audio of this gateway and the workers that listen to them. However many streams: one link, no queue."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable

from parley_gateway.identity import Identity
from parley_gateway.voice.config import EarSettings
from parley_gateway.voice.ear import Ear
from parley_gateway.voice.events import HearingEvent, Hears, Listening
from parley_gateway.voice.lanes import Lanes
from parley_gateway.voice.lease import Lease, holds
from parley_gateway.voice.leasing import Ask, Effect, LetGo, Over, Tell, Timing
from parley_gateway.voice.meter import Meter, check_hearing, fitting
from parley_gateway.voice.offering import Offering
from parley_gateway.voice.roster import Roster
from parley_gateway.voice.stream import Stream
from parley_protocol.audio import Failed, Hearing, Hearings, Leased, Listen
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId
from parley_runtime.ports import Clock, Link, LinkState
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import gauge

log = get_logger(__name__)

LATE_S = 0.5
"""A timer that is so late says that this process stood still: what did not come meanwhile is held against nobody."""


class Ears:
    """``hub.ears``: carries out what leases decide, and tells them what becomes of it."""

    def __init__(self, gateway: str, settings: EarSettings, clock: Clock, link: Link, heard_by: Link) -> None:
        """``link`` carries leases and audio; ``heard_by`` is the one that the workers' words come by."""
        self._gateway = gateway
        self._settings = settings
        self._clock = clock
        self._links = (link, heard_by)
        self._timing = Timing(settings.progress_s, settings.lease_s, settings.failover_s)
        self._roster = Roster(settings)
        self._tasks = Tasks("audio")
        self._offering = Offering(settings, link, clock, self._tasks, unpublished=self._unpublished)
        self.lanes = Lanes(gateway, link, clock, self._tasks, promise=self._promise, lost=self._lost)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        for each in self._links:
            each.watch(self._on_link)
        gauge(names.STREAMS).set_function(lambda: len(self._roster))

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.monotonic()

    @property
    def streams(self) -> int:
        """Open ones."""
        return len(self._roster)

    def open(self, identity: Identity, session: SessionId, hearing: Hearing, hears: Hears, *, kb: str = "") -> Ear:
        """Ask for a worker to listen. ``hears`` is told of it, and of what is heard; audio may be fed at once.

        Raises:
            ProtocolError: ``unsupported`` (format), ``invalid`` (a value of it), ``unavailable`` (the broker is away),
                ``overloaded`` or ``rate_limited`` (streams of this gateway, of this user).
        """
        check_hearing(hearing)
        hearing = fitting(hearing, self._settings.ring)
        owner = (identity.tenant, identity.user) if identity.known else None
        if any(link.state is not LinkState.UP for link in self._links):
            raise ProtocolError(FaultCode.UNAVAILABLE, "the message broker cannot be reached at present; try again")
        self._roster.check(owner)
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
        lease = Lease(Stream(stream, self._settings.ring), self._timing)
        ear = Ear(self, lease, listen, Meter(hearing, self._settings, now), hears, owner)
        self._roster.add(ear)
        self._promise()
        self.apply(ear, lease.ask(now))
        return ear

    # --- what comes -------------------------------------------------------------------------------------------

    def on_hearings(self, message: Hearings) -> None:
        """What workers say, from the gateway's event queue."""
        now = self.now()
        for part in message.streams:
            ear = self._roster.get(part.stream)
            if ear is not None:
                self.apply(ear, ear.lease.on_events(part.epoch, part.worker, part.events, now))
                self.lanes.ready(ear)
            elif holds(part.events):
                self.lanes.let_go(part.worker, part.stream, part.epoch)

    def _on_link(self, _: LinkState, __: str) -> None:
        away = any(link.state is not LinkState.UP for link in self._links)
        now = self.now()
        for ear in self._roster:
            ear.lease.away = away
            ear.lease.forgive(now)

    def _lost(self, ear: Ear, epoch: int, cause: str) -> None:
        self.apply(ear, ear.lease.lose(epoch, cause, self.now()))

    def _unpublished(self, ear: Ear, epoch: int, code: FaultCode, unknown: bool) -> None:
        self.apply(ear, ear.lease.asking_failed(epoch, code, unknown=unknown))

    def _on_timer(self) -> None:
        now = self.now()
        late, self._timer = now - self._due > LATE_S, None
        for ear in self._roster:
            if late:
                ear.lease.forgive(now)
            self._look(ear, now)
        self.lanes.flush()
        if self._roster or self.lanes:
            self._promise()

    def _look(self, ear: Ear, now: float) -> None:
        effects = ear.lease.tick(now)
        if not ear.ended and ear.meter.idle_s(now) > self._settings.idle_s:
            text = f"no audio came for {self._settings.idle_s:g} s, and the stream was ended; begin another"
            effects += ear.lease.close(Failed(Fault(FaultCode.EXPIRED.value, text)))
        self.apply(ear, effects)
        self.lanes.ready(ear)

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
                    self._offering.ask(ear, effect)
                case Tell():
                    _tell(ear, effect.event)
                case LetGo():
                    self.lanes.let_go(effect.worker, ear.lease.stream.name, effect.epoch)
                case Over():
                    ear.ended = True
                    if self._roster.remove(ear):
                        ear.span.end()

    async def close(self) -> None:
        """Let go of every lease, so that the workers' seats are free; give that a moment to be sent."""
        for ear in self._roster:
            ear.drop()
        await self._tasks.close(1.0)
        if self._timer is not None:
            self._timer.cancel()


def _tell(ear: Ear, event: HearingEvent | Leased) -> None:
    try:
        ear.tell(Listening(event.engine) if isinstance(event, Leased) else event)
    except Exception:
        log.exception("what was heard could not be told", stream=ear.lease.stream.name)
