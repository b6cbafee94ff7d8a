"""Who listens to one stream, and from where the next one has to begin: pure, time and messages in, effects out.

A lease is *asked* for under an epoch. Whoever takes it first has it: a *run*, which is sent the audio from the
boundary on. Its words count for as long as it has the lease, which is told by epoch and worker; another one is asked,
from the boundary of then, once it is lost, fails or has to go. Who has it no more is told to let go.
"""

from __future__ import annotations

from itertools import count

from parley_gateway.voice.asked import Asked
from parley_gateway.voice.leasing import Ask, Effect, LetGo, Over, Tell, Timing
from parley_gateway.voice.run import Missed, Run, Word
from parley_gateway.voice.stream import Stream
from parley_protocol.audio import Ended, Failed, Leased, Moving, Progress, StreamEvent
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode

FAILURES = 3
"""Workers in a row that may fail to hear a stream, without an utterance told in between."""
LOSSES = 20
"""Workers in a row that may be lost in the same way: whatever they are lost by, it is no accident any more."""


class Lease:
    """One stream's. It begins with :meth:`ask` and ends with the effect :class:`Over`.

    Nobody listens while there is no ``run``; somebody is asked while there is ``asked``; with both, the lease moves.
    """

    def __init__(self, stream: Stream, timing: Timing) -> None:
        self.stream = stream
        self.asked: Asked | None = None
        self.run: Run | None = None
        self.over = False
        self.away = False
        """The broker cannot be reached: nothing is held against anybody meanwhile."""
        self._timing = timing
        self._epochs = count(1)
        self._leased = False
        """Somebody has had it."""
        self._failures = 0
        self._losses = 0

    @property
    def heard(self) -> int:
        """Bytes of the stream that whoever listens has taken; what a worker took that is gone counts no more."""
        return self.run.sending.taken if self.run is not None else self.stream.boundary.at

    def ask(self, now: float, cause: str = "") -> list[Effect]:
        """Ask for a worker, from the boundary on; ``cause`` is why, except for the first one."""
        boundary = self.stream.boundary
        self.asked = Asked(self._epochs, boundary, now)
        return [Ask(self.asked.epoch, boundary, cause, self.stream.ring.end - boundary.at if cause else 0)]

    def close(self, *told: Ended | Failed) -> list[Effect]:
        """The stream ends here; ``told`` says how, if anybody wants to know. Idempotent."""
        if self.over:
            return []
        gone = let_go(self.run)
        self.over = True
        self.run = self.asked = None
        self.stream.close()
        return [*gone, *(Tell(event) for event in told), Over()]

    # --- what workers say -------------------------------------------------------------------------------------

    def on_events(self, epoch: int, worker: str, events: tuple[StreamEvent, ...], now: float) -> list[Effect]:
        """What a worker says under ``epoch``."""
        effects: list[Effect] = []
        if self.asked is not None and epoch in self.asked.epochs:
            if not takes(events):  # whoever took it cannot hear the stream; who has it still goes on meanwhile
                if (fault := failure(events)) is None:
                    return []
                self.asked = None
                return self._on_failed(fault, now)
            effects += self._adopt(self.asked, epoch, worker, events)
            events = tuple(event for event in events if not isinstance(event, Leased))
        elif self.run is None or (epoch, worker) != (self.run.epoch, self.run.worker):
            return self._on_other(epoch, worker, events, now)
        for event in events:
            run = self.run
            if run is None or run.epoch != epoch:
                break
            effects += self._on_event(run, event, now)
        return effects

    def _adopt(self, asked: Asked, epoch: int, worker: str, events: tuple[StreamEvent, ...]) -> list[Effect]:
        """The lease asked for is taken; who had it before is not needed any more."""
        effects = let_go(self.run)
        self.run = Run(self.stream, epoch, worker, asked.boundary)
        self.asked = None
        self.stream.again()
        if not self._leased:
            self._leased = True
            effects += [Tell(event) for event in events if isinstance(event, Leased)]
        return effects

    def _on_other(self, epoch: int, worker: str, events: tuple[StreamEvent, ...], now: float) -> list[Effect]:
        """A worker that does not have the lease, or not any more."""
        if not holds(events):
            return []
        effects: list[Effect] = [LetGo(worker, epoch)]
        if takes(events):  # under an epoch that somebody has: the broker has taken it away from that one
            effects += self.lose(epoch, "redelivered", now)
        return effects

    def _on_event(self, run: Run, event: StreamEvent, now: float) -> list[Effect]:
        """What the worker says that has the lease."""
        match event:
            case Moving():
                return self.ask(now, "moving") if self.asked is None else []
            case Failed():
                self.run = None
                return self._on_failed(event.fault, now)
            case Ended() if self.stream.answered:
                self.run = None
                return self.close(event)
            case Ended():
                return self.lose(run.epoch, "missed", now)
            case Leased():
                return self.lose(run.epoch, "redelivered", now)
            case _:
                return self._on_word(run, event, now)

    def _on_word(self, run: Run, word: Word, now: float) -> list[Effect]:
        before = self.stream.boundary
        try:
            told = run.on_word(word)
        except Missed:
            return self.lose(run.epoch, "missed", now)
        if self.stream.boundary is not before:
            needed = [self.asked.boundary.place] if self.asked is not None else []
            self.stream.forget(run.sending.place, *needed)
            if self.stream.boundary.utterance > before.utterance:
                self._failures = self._losses = 0
        return [Tell(each) for each in told]

    def _on_failed(self, fault: Fault, now: float) -> list[Effect]:
        """A worker could not hear the stream."""
        self._failures += 1
        if not fault.retryable or self._failures >= FAILURES:
            return self.close(Failed(fault))
        return self.ask(now, "failed") if self.asked is None else []

    # --- what becomes of messages, and of time ----------------------------------------------------------------

    def lose(self, epoch: int, cause: str, now: float) -> list[Effect]:
        """Whoever has the lease under ``epoch``, if anybody has, has lost it: its worker is gone or silent, it has
        another, or something sent to it or said by it may have been lost.
        """
        if self.run is None or self.run.epoch != epoch:
            return []
        gone, self.run = let_go(self.run), None
        if self.stream.answered:
            return [*gone, *self.close(Ended(0))]
        if self.asked is not None:  # another one is asked already, and has its full time from now on
            self.asked.extend(now)
            return gone
        self._losses += 1
        if self._losses > LOSSES:
            fault = Fault(FaultCode.FAILED.value, "no recogniser could be kept; try again", True)
            return [*gone, *self.close(Failed(fault))]
        return [*gone, *self.ask(now, cause)]

    def asking_failed(self, epoch: int, code: FaultCode, *, unknown: bool = False) -> list[Effect]:
        """The lease was not published, or (``unknown``) may not have been."""
        if self.asked is None or self.asked.epoch != epoch:
            return []
        if code is FaultCode.OVERLOADED and not self._leased:
            text = "as many streams wait for a recogniser as may; try again later"
            return self.close(Failed(Fault(code.value, text, True)))
        self.asked.unpublished(code, unknown=unknown)
        return []

    def tick(self, now: float) -> list[Effect]:
        """Look at what should have happened by now."""
        if self.over or self.away:
            return []
        effects: list[Effect] = []
        timing = self._timing
        if self.run is not None and self.run.sending.silent(now, timing.progress_s):
            effects += self.lose(self.run.epoch, "silent", now)
        elif self.run is not None:
            self.run.sending.probe(now, timing.progress_s / 2)
        if self.asked is None:
            return effects
        if self.run is None and self.asked.late(now, timing.failover_s if self._leased else timing.lease_s):
            return [*effects, *self.close(Failed(self.asked.fault(first=not self._leased)))]
        return [*effects, *self.asked.tick(now, timing.lease_s / 2)]

    def forgive(self, now: float) -> None:
        """Time has passed in which nothing could be heard: the broker was away, or this process stood still."""
        if self.asked is not None:
            self.asked.forgive(now)
        if self.run is not None:
            self.run.sending.forgive(now)


def let_go(run: Run | None) -> list[Effect]:
    """Nobody needs its worker any more, if there is one."""
    return [LetGo(run.worker, run.epoch)] if run is not None else []


def takes(events: tuple[StreamEvent, ...]) -> bool:
    """Whether whoever says this has just taken a lease."""
    return any(isinstance(event, Leased) for event in events)


def failure(events: tuple[StreamEvent, ...]) -> Fault | None:
    """Why whoever says this cannot hear the stream."""
    return next((event.fault for event in events if isinstance(event, Failed)), None)


def holds(events: tuple[StreamEvent, ...]) -> bool:
    """Whether whoever says this has a lease still, as far as it knows."""
    return any(isinstance(event, Leased | Progress) for event in events) and not any(
        isinstance(event, Ended | Failed) for event in events
    )
