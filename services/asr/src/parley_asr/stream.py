"""One stream that this process listens to: its lease, the audio that waits, and what has been heard."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from parley_asr.cues import take_start
from parley_asr.hark import Piece
from parley_asr.inbox import Inbox
from parley_asr.intake import bytes_per_s
from parley_asr.listener import Listener
from parley_asr.options import ListenOptions
from parley_asr.scribe import Event
from parley_asr.spent import Spent
from parley_asr.trace import StreamTrace
from parley_protocol.audio import AudioPart, Ended, Heard, Listen, Mark, StreamEvent
from parley_runtime.errors import EngineError, Fatal, ParleyError
from parley_runtime.ports import Delivery

GAP = "Audio was lost on its way to the recogniser; it has to be sent again."


@dataclass(slots=True)
class _Work:
    """What is being done. ``arrived``: when the last of its audio came; ``began_at``: of the step at hand, or 0."""

    piece: Piece
    bytes: int
    mark: Mark
    arrived: float
    began_at: float
    spent_s: float = 0.0
    events: list[Event] = field(default_factory=list)


class Lost(EngineError):
    """Audio is missing."""


class Stream:
    """Made for a :class:`Listen`; ``on_events`` is told what is heard, ``on_failed`` why it cannot go on. Its audio is
    worked on a piece at a time and in two steps, by whoever asks for them: first it is cut, then its words are written
    down, where there are any. Everything but the work itself happens on the loop.
    """

    def __init__(
        self,
        listen: Listen,
        delivery: Delivery,
        listener: Listener,
        options: ListenOptions,
        *,
        spent: Spent,
        trace: StreamTrace,
        on_events: Callable[["Stream", list[StreamEvent]], None],
        on_failed: Callable[["Stream", BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.listen = listen
        self.delivery = delivery
        self.since = self.last_audio = self.last_alive = self._loop.time()
        self.moving_since: float | None = None
        self.over = False
        """Nothing is told any more."""
        self.taken = listen.at
        self.keep = listen.at
        self.utterance = listen.utterance
        """Number of the next one; those before it have been told."""
        self._listener = listener
        self.trace = trace
        self._on_events = on_events
        self._on_failed = on_failed
        self._per_s = bytes_per_s(listen.hearing)
        self._inbox = Inbox(options.inbox, max(1, self._per_s * options.quantum_ms // 1000))
        self._spent = spent
        self._work: _Work | None = None
        self._closed = False

    @property
    def factor(self) -> float:
        """Seconds of work per second of audio so far."""
        return self._spent.factor

    @property
    def stuck_s(self) -> float:
        """How long the step at hand has been going on."""
        work = self._work
        return self._loop.time() - work.began_at if work is not None and work.began_at else 0.0

    def add(self, part: AudioPart) -> None:
        """Audio has come. Raises Lost where some is missing, Overloaded where too much waits."""
        self.last_audio = self._loop.time()
        if part.at > self.taken:
            raise Lost(GAP)
        fresh = part.data[self.taken - part.at :]
        if not fresh and (part.data or part.at < self.taken):
            return  # it came before, and so did its mark
        self.taken += len(fresh)
        self._inbox.add(self.last_audio, fresh, part.mark)

    # ---- the first step

    def cut(self) -> Piece | None:
        """The next piece of audio, where there is one and the one before has been done with."""
        if self.over or self._work is not None or not self._inbox:
            return None
        data, mark, arrived = self._inbox.take()
        piece = Piece(self._listener.cutter.cut(data, mark))
        self._work = _Work(piece, len(data), mark, arrived, self._loop.time())
        return piece

    def was_cut(self, error: BaseException | None) -> None:
        """That piece has been."""
        work = self._work
        assert work is not None
        work.began_at = 0.0
        self._spent.cut(work.bytes / self._per_s, work.piece.spent_s, work.piece.vad_s)
        error = error or work.piece.error
        started = take_start(work.piece.cues)
        if started is not None and not self.over:
            self._on_events(self, [started])
        if error is not None or not work.piece.cues:
            self._done(work, [], error)

    # ---- the second step

    def write(self) -> Callable[[], None] | None:
        """What the recogniser is to do, where there is anything."""
        work = self._work
        if self.over:
            return self._close()
        if work is None or work.began_at:
            return None
        work.began_at = self._loop.time()
        return lambda: self._write(work)

    def was_written(self, error: BaseException | None) -> None:
        """That has been done."""
        if self._work is not None and not self._closed:
            self._done(self._work, self._work.events, error)

    def _write(self, work: _Work) -> None:
        began = time.perf_counter()
        try:
            work.events = self._listener.scribe.write(work.piece.cues, self._listener.audio_ms)
        finally:
            work.spent_s = time.perf_counter() - began

    def _close(self) -> Callable[[], None] | None:
        if self._closed:
            return None
        self._closed = True
        return self._listener.close

    def _done(self, work: _Work, events: list[Event], error: BaseException | None) -> None:
        self._work = None
        self._spent.wrote(work.spent_s)
        if self.over:
            return
        self.keep, self.utterance = self._listener.keep, self._listener.utterance
        work_ms = (self._loop.time() - work.arrived) * 1000
        told = [self._dressed(event, work_ms) for event in events]
        if error is None and work.mark is Mark.END:
            told.append(Ended(self._listener.audio_ms, self.factor))
        if told:
            self._on_events(self, told)
        if error is not None:
            self._on_failed(self, error)

    def _dressed(self, event: Event, work_ms: float) -> StreamEvent:
        if isinstance(event, Heard):
            return msgspec.structs.replace(event, work_ms=round(work_ms, 2), factor=self.factor)
        return event


def fault_of(error: BaseException) -> ParleyError:
    """The error as others are told of it."""
    return error if isinstance(error, ParleyError) else EngineDefect("The recogniser failed on this audio.")


class EngineDefect(Fatal):
    """A defect of ours: the same audio fails again."""

    code = EngineError.code
