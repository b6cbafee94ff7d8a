"""Who listens to one stream, and from where the next one has to begin: pure, time and messages in, effects out.

The *boundary* is where the last utterance that was told ended. What comes after it is kept, so that any worker can
hear it from there, and hears the same. A worker's events count while it has the lease, which is told by the epoch; an
utterance counts once, whoever is the first to tell it.
"""

from __future__ import annotations

from collections import deque

from parley_gateway.voice.leasing import Ask, Asked, Boundary, Effect, LetGo, Over, Phase, Run, Tell, Timing
from parley_gateway.voice.ring import Ring
from parley_gateway.voice.told import Teller
from parley_protocol.audio import (
    AudioPart,
    Ended,
    Failed,
    Heard,
    Leased,
    Mark,
    Moving,
    Partial,
    Progress,
    SpeechStarted,
    SpeechStopped,
    StreamEvent,
)
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode

WINDOW = 1_048_576
"""Bytes sent to a worker that it has not reported as taken; the rest waits here."""
FAILURES = 3
"""Workers in a row that may fail to hear a stream, without an utterance told in between."""
LOSSES = 20
"""Workers in a row that may be lost in the same way: whatever they are lost by, it is no accident any more."""


class Lease:
    """One stream."""

    def __init__(self, stream: str, limit: int, timing: Timing) -> None:
        self.stream = stream
        self.timing = timing
        self.ring = Ring(limit)
        self.boundary = Boundary()
        self.epoch = 0
        self.asked: Asked | None = None
        self.run: Run | None = None
        self.over = False
        self.away = False
        """The broker cannot be reached: nothing is held against anybody meanwhile."""
        self._ended: int | None = None
        """Number of the END mark."""
        self._failures = 0
        self._losses = 0
        self._leased = False
        self._teller = Teller()

    @property
    def phase(self) -> Phase:
        if self.over:
            return Phase.OVER
        if self.run is None:
            return Phase.ASKING
        return Phase.LEASED if self.asked is None else Phase.MOVING

    # --- the client -------------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[Effect]:
        """Ask for the first lease."""
        return self._ask("", now)

    def say(self, mark: Mark) -> None:
        """COMMIT, CLEAR or END."""
        if self._ended is None:
            if mark is Mark.END:
                self._ended = self.ring.next
            self.ring.mark(mark)

    def drop(self) -> list[Effect]:
        """Nobody wants to know any more."""
        if self.over:
            return []
        gone = self._dismiss()
        return [*gone, *self._end()]

    def fail(self, code: FaultCode, message: str, *, retryable: bool = False) -> list[Effect]:
        """The stream cannot go on."""
        if self.over:
            return []
        return [*self._dismiss(), Tell(Failed(Fault(code.value, message, retryable))), *self._end()]

    # --- sending ----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is something to send, and somebody to send it to."""
        run = self.run
        if run is None or self.over:
            return False
        return run.probe or (run.sent < self.ring.end or self.ring.marked(run.mark) is not None)

    @property
    def open_window(self) -> bool:
        """Whether the worker keeps up: more may be sent before it has said what it has taken."""
        return self.run is not None and self.run.sent < self.run.taken + WINDOW

    def take(self, limit: int, now: float) -> list[AudioPart]:
        """The next parts for the worker, ``limit`` bytes at most."""
        run = self.run
        if run is None or self.over:
            return []
        parts: list[AudioPart] = []
        limit = min(limit, run.taken + WINDOW - run.sent)
        while (part := self._part(run, limit)) is not None:
            limit -= len(part.data)
            run.sent += len(part.data)
            run.mark += part.mark is not Mark.NONE
            run.unanswered.append((run.sent, now))
            run.probe = False
            run.sent_at = now
            parts.append(part)
        return parts

    def _part(self, run: Run, limit: int) -> AudioPart | None:
        marked = self.ring.marked(run.mark)
        end = marked.at if marked is not None else self.ring.end
        to = min(end, run.sent + max(0, limit))
        mark = marked.mark if marked is not None and to == marked.at else Mark.NONE
        if to == run.sent and mark is Mark.NONE and not run.probe:
            return None
        return AudioPart(self.stream, run.epoch, run.sent, self.ring.read(run.sent, to), mark)

    def unsent(self, epoch: int, parts: list[AudioPart]) -> None:
        """These parts, the last ones taken, were not sent after all, and are nowhere."""
        run = self.run
        if run is None or run.epoch != epoch or not parts:
            return
        run.sent = parts[0].at
        run.mark -= sum(part.mark is not Mark.NONE for part in parts)
        for _ in range(min(len(parts), len(run.unanswered))):
            run.unanswered.pop()

    def sending_failed(self, epoch: int, cause: str, now: float) -> list[Effect]:
        """A part may have been lost: by a broker that did not confirm it, or since its worker is gone."""
        run = self.run
        if self.over or run is None or run.epoch != epoch:
            return []
        return self._lose(cause, now)

    def asking_failed(self, epoch: int, code: FaultCode, *, unknown: bool = False) -> list[Effect]:
        """The lease was not published, or (``unknown``) may not have been."""
        asked = self.asked
        if self.over or asked is None or asked.epochs[-1] != epoch:
            return []
        if code is FaultCode.OVERLOADED and not self._leased:
            return self.fail(code, "as many streams wait for a recogniser as may; try again later", retryable=True)
        asked.lost = code
        if unknown:
            self.epoch += 1
            asked.epochs.append(self.epoch)
        return []

    # --- workers ----------------------------------------------------------------------------------------------

    def on_events(self, epoch: int, worker: str, events: tuple[StreamEvent, ...], now: float) -> list[Effect]:
        """What a worker says under ``epoch``."""
        if not self.over and self.asked is not None and epoch in self.asked.epochs and _takes(events):
            effects = self._adopt(self.asked, epoch, worker, events)
            events = tuple(event for event in events if not isinstance(event, Leased))
        elif not self.over and self.asked is not None and epoch in self.asked.epochs:
            return self._refused(events, now)
        elif not self.over and self.run is not None and (epoch, worker) == (self.run.epoch, self.run.worker):
            effects = []
        else:
            return self._on_other(epoch, worker, events, now)
        for event in events:
            if self.over or self.run is None or self.run.epoch != epoch:
                break
            effects += self._on_event(self.run, event, now)
        return effects

    def _refused(self, events: tuple[StreamEvent, ...], now: float) -> list[Effect]:
        """Whoever took the lease asked for cannot hear the stream; who has it still goes on meanwhile."""
        fault = next((event.fault for event in events if isinstance(event, Failed)), None)
        if fault is None:
            return []
        self._failures += 1
        if fault.retryable and self._failures < FAILURES:
            return self._ask("failed", now)
        return [*self._dismiss(), Tell(Failed(fault)), *self._end()]

    def _on_other(self, epoch: int, worker: str, events: tuple[StreamEvent, ...], now: float) -> list[Effect]:
        """A worker that does not have the lease, or not any more."""
        if not holds(events):
            return []
        effects: list[Effect] = [LetGo(worker, epoch)]
        run = self.run
        if not self.over and run is not None and run.epoch == epoch and _takes(events):
            effects += self._lose("redelivered", now)  # the broker has taken it away from the one who had it
        return effects

    def _adopt(self, asked: Asked, epoch: int, worker: str, events: tuple[StreamEvent, ...]) -> list[Effect]:
        effects: list[Effect] = [LetGo(self.run.worker, self.run.epoch)] if self.run is not None else []
        boundary = asked.boundary
        self.run = Run(epoch, worker, boundary.at, boundary.mark, boundary.utterance, boundary.at)
        self.asked = None
        self._teller.replays()
        if not self._leased:
            self._leased = True
            effects += [Tell(event) for event in events if isinstance(event, Leased)]
        return effects

    def _on_event(self, run: Run, event: StreamEvent, now: float) -> list[Effect]:
        if isinstance(event, Progress):
            return self._on_progress(run, event, now)
        if isinstance(event, Heard):
            return self._on_heard(run, event, now)
        if isinstance(event, SpeechStarted | SpeechStopped | Partial):
            return self._on_speech(run, event, now)
        return self._on_end(event, now)

    def _on_speech(self, run: Run, event: SpeechStarted | SpeechStopped | Partial, now: float) -> list[Effect]:
        if event.utterance > run.utterance:
            return self._lose("missed", now)
        current = event.utterance == run.utterance == self.boundary.utterance
        return [Tell(each) for each in self._teller.pass_on(event)] if current else []

    def _on_end(self, event: Moving | Failed | Ended | Leased, now: float) -> list[Effect]:
        """The lease is over, or about to be."""
        match event:
            case Moving():
                return self._ask("moving", now) if self.asked is None else []
            case Failed():
                return self._on_failed(event.fault, now)
            case Ended():
                return self._finish(event) if self._answered else self._lose("missed", now)
            case Leased():
                return self._lose("redelivered", now)

    def _on_progress(self, run: Run, event: Progress, now: float) -> list[Effect]:
        run.taken = max(run.taken, min(event.taken, run.sent))
        while run.unanswered and run.unanswered[0][0] <= event.taken:
            run.unanswered.popleft()
        if event.utterance > run.utterance:
            return self._lose("missed", now)
        if event.utterance == run.utterance == self.boundary.utterance and event.keep > self.boundary.at:
            self._move(event.keep, self.boundary.mark, self.boundary.utterance)
        return []

    def _on_heard(self, run: Run, event: Heard, now: float) -> list[Effect]:
        if event.utterance < run.utterance:
            return []
        if event.utterance > run.utterance:
            return self._lose("missed", now)
        run.utterance += 1
        if event.utterance != self.boundary.utterance:
            return []  # told already, by the worker before
        mark = self.boundary.mark
        if event.marked:
            while (marked := self.ring.marked(mark)) is not None and marked.mark is Mark.CLEAR:
                mark += 1
            mark += marked is not None
        self._failures = self._losses = 0
        told = self._teller.heard(event)
        self._move(event.keep, mark, event.utterance + 1)
        return [Tell(each) for each in told]

    def _on_failed(self, fault: Fault, now: float) -> list[Effect]:
        self._failures += 1
        self.run = None
        if fault.retryable and self._failures < FAILURES:
            return self._ask("failed", now) if self.asked is None else []
        return [Tell(Failed(fault)), *self._end()]

    # --- time -------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Look at what should have happened by now."""
        if self.over or self.away:
            return []
        effects: list[Effect] = []
        run = self.run
        if run is not None and run.unanswered and now - run.unanswered[0][1] > self.timing.progress_s:
            effects += self._lose("silent", now)
        elif run is not None and self._owed(run) and now - run.sent_at > self.timing.progress_s / 2:
            run.probe = True
        asked = self.asked
        if asked is None or self.over:
            return effects
        limit_s = self.timing.failover_s if self._leased else self.timing.lease_s
        if self.run is None and now - asked.since > limit_s:
            return [*effects, *self._nobody(asked)]
        if asked.lost is not None:
            asked.lost, asked.asked_at = None, now
            effects.append(Ask(asked.epochs[-1], asked.boundary))
        elif now - asked.asked_at > self.timing.lease_s / 2:  # whoever took it may be past saying so
            self.epoch += 1
            asked.epochs.append(self.epoch)
            asked.asked_at = now
            effects.append(Ask(self.epoch, asked.boundary, "untaken"))
        return effects

    def forgive(self, now: float) -> None:
        """Time has passed in which nothing could be heard: the broker was away, or this process stood still."""
        if self.asked is not None:
            self.asked.since = self.asked.asked_at = now
        if self.run is not None:
            self.run.unanswered = deque((at, now) for at, _ in self.run.unanswered)

    def _nobody(self, asked: Asked) -> list[Effect]:
        if asked.lost is FaultCode.UNAVAILABLE:
            return self.fail(asked.lost, "the message broker cannot be reached at present; try again", retryable=True)
        text = "every recogniser is busy; try again later" if not self._leased else "no recogniser is left; try again"
        return self.fail(FaultCode.OVERLOADED, text, retryable=True)

    # --- parts ------------------------------------------------------------------------------------------------

    @property
    def _answered(self) -> bool:
        """Whether the end has been heard."""
        return self._ended is not None and self.boundary.mark > self._ended

    def _owed(self, run: Run) -> bool:
        """Whether the worker has an answer to give that it has said nothing of."""
        return run.mark > self.boundary.mark or self._answered

    def _lose(self, cause: str, now: float) -> list[Effect]:
        """Whoever has the lease has lost it."""
        run, self.run = self.run, None
        gone: list[Effect] = [LetGo(run.worker, run.epoch)] if run is not None else []
        if self._answered:
            return [*gone, *self._finish(Ended(0))]
        if self.asked is not None:  # another one is asked already, and has its full time from now on
            self.asked.since = now
            return gone
        self._losses += 1
        if self._losses > LOSSES:
            return [*gone, *self.fail(FaultCode.FAILED, "no recogniser could be kept; try again", retryable=True)]
        return [*gone, *self._ask(cause, now)]

    def _ask(self, cause: str, now: float) -> list[Effect]:
        self.epoch += 1
        self.asked = Asked([self.epoch], self.boundary, now, now)
        return [Ask(self.epoch, self.boundary, cause, self.ring.end - self.boundary.at if cause else 0)]

    def _dismiss(self) -> list[Effect]:
        run, self.run, self.asked = self.run, None, None
        return [LetGo(run.worker, run.epoch)] if run is not None else []

    def _finish(self, ended: Ended) -> list[Effect]:
        return [Tell(ended), *self._end()]

    def _end(self) -> list[Effect]:
        self.over = True
        self.run = self.asked = None
        self.ring = Ring(0)
        return [Over()]

    def _move(self, at: int, mark: int, utterance: int) -> None:
        """The boundary moves on; what nobody can need any more is forgotten."""
        at = min(max(at, self.boundary.at), self.ring.end)
        while (marked := self.ring.marked(mark)) is not None and marked.mark is Mark.CLEAR and marked.at <= at:
            mark += 1
        self.boundary = Boundary(at, mark, utterance)
        floor, first = at, mark
        if self.asked is not None:
            floor, first = min(floor, self.asked.boundary.at), min(first, self.asked.boundary.mark)
        if self.run is not None:
            floor, first = min(floor, self.run.sent), min(first, self.run.mark)
        self.ring.trim(floor, first)


def _takes(events: tuple[StreamEvent, ...]) -> bool:
    return any(isinstance(event, Leased) for event in events)


def holds(events: tuple[StreamEvent, ...]) -> bool:
    """Whether whoever says this has a lease still, as far as it knows."""
    return any(isinstance(event, Leased | Progress) for event in events) and not any(
        isinstance(event, Ended | Failed) for event in events
    )
