"""One stream that this process listens to: its lease, the audio that waits, and what has been heard."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from parley_asr.intake import bytes_per_s
from parley_asr.listener import Listener
from parley_asr.options import ListenOptions
from parley_asr.scribe import Event
from parley_asr.spent import Spent
from parley_asr.trace import StreamTrace
from parley_protocol.audio import AudioPart, Ended, Heard, Listen, Mark, StreamEvent
from parley_runtime.errors import EngineError, Fatal, Overloaded, ParleyError
from parley_runtime.ports import Delivery
from parley_runtime.telemetry import names
from parley_runtime.telemetry.metrics import counter

_audio = counter(names.AUDIO_SECONDS).inc
_work_all = counter(names.LISTEN_WORK_SECONDS).labels("all").inc
_work_vad = counter(names.LISTEN_WORK_SECONDS).labels("vad").inc
_work_engine = counter(names.LISTEN_WORK_SECONDS).labels("engine").inc

GAP = "Audio was lost on its way to the recogniser; it has to be sent again."


@dataclass(slots=True)
class _Piece:
    """Audio as it came, and when."""

    at: float
    data: bytes
    mark: Mark


@dataclass(slots=True)
class Work:
    """Figures of a stream."""

    spent_s: float = 0.0
    bytes: int = 0
    began_at: float = 0.0
    results: list[tuple[float, Event]] = field(default_factory=list)
    """(arrival of the last byte that it took, event)."""


class Lost(EngineError):
    """Audio is missing."""


class Stream:
    """Made for a :class:`Listen`; ``on_events`` is told what is heard, ``on_failed`` why it cannot go on. Everything
    but the work itself happens on the loop.
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
        self._options = options
        self._spent = spent
        self.trace = trace
        self._on_events = on_events
        self._on_failed = on_failed
        self._inbox: deque[_Piece] = deque()
        self._waiting = 0
        self._per_s = bytes_per_s(listen.hearing)
        self._quantum = max(1, self._per_s * options.quantum_ms // 1000)
        self._work = Work()
        self._counted = (0.0, 0)
        self._ended = False
        self._closed = False
        self.at_work = False

    @property
    def factor(self) -> float:
        """Seconds of work per second of audio so far."""
        audio_s = self._work.bytes / self._per_s
        return round(self._work.spent_s / audio_s, 4) if audio_s else 0.0

    @property
    def stuck_s(self) -> float:
        """How long the piece of work at hand has been going on."""
        return self._loop.time() - self._work.began_at if self.at_work else 0.0

    def add(self, part: AudioPart) -> None:
        """Audio has come. Raises Lost where some is missing, Overloaded where too much waits."""
        now = self.last_audio = self._loop.time()
        if part.at > self.taken:
            raise Lost(GAP)
        fresh = part.data[self.taken - part.at :]
        if not fresh and (part.data or part.at < self.taken):
            return  # it came before, and so did its mark
        self._inbox.append(_Piece(now, fresh, part.mark))
        self.taken += len(fresh)
        self._waiting += len(fresh)
        if self._waiting > self._options.inbox:
            raise Overloaded("Audio comes faster than it can be heard: send it as it is spoken.", retry_after_s=1.0)

    def take(self) -> Callable[[], None] | None:
        """See ``pool.Worked``."""
        if self.over:
            if self._closed:
                return None
            self._closed = True
            return self._listener.close
        if not self._inbox:
            return None
        data, mark, arrived = self._next()
        self._work.began_at = self._loop.time()
        self.at_work = True
        return lambda: self._hear(data, mark, arrived)

    def done(self, error: BaseException | None) -> None:
        """See ``pool.Worked``."""
        self.at_work = False
        self._count()
        results, self._work.results = self._work.results, []
        if self.over:
            return
        self.keep, self.utterance = self._listener.keep, self._listener.utterance
        now = self._loop.time()
        events = [self._dressed(event, (now - arrived) * 1000) for arrived, event in results]
        if error is None and self._ended:
            events.append(Ended(self._listener.audio_ms, self.factor))
        if events:
            self._on_events(self, events)
        if error is not None:
            self._on_failed(self, error)

    def _count(self) -> None:
        """Figures of the piece of work that has been done."""
        work, spent = self._work, self._spent
        _work_all(work.spent_s - self._counted[0])
        _audio((work.bytes - self._counted[1]) / self._per_s)
        self._counted = (work.spent_s, work.bytes)
        _work_vad(spent.vad_s)
        _work_engine(spent.engine_s)
        spent.vad_s = spent.engine_s = 0.0

    def _dressed(self, event: Event, work_ms: float) -> StreamEvent:
        if isinstance(event, Heard):
            return msgspec.structs.replace(event, work_ms=round(work_ms, 2), factor=self.factor)
        return event

    def _next(self) -> tuple[bytes, Mark, float]:
        parts: list[bytes] = []
        room = self._quantum
        mark, arrived = Mark.NONE, 0.0
        while self._inbox and room > 0 and mark is Mark.NONE:
            piece = self._inbox[0]
            arrived = piece.at
            parts.append(piece.data[:room])
            if len(piece.data) > room:
                piece.data = piece.data[room:]
                room = 0
                break
            room -= len(piece.data)
            mark = piece.mark
            self._inbox.popleft()
        data = b"".join(parts)
        self._waiting -= len(data)
        return data, mark, arrived

    def _hear(self, data: bytes, mark: Mark, arrived: float) -> None:
        began = time.perf_counter()
        try:
            events = self._listener.feed(data, mark)
        finally:
            self._work.spent_s += time.perf_counter() - began
            self._work.bytes += len(data)
        self._work.results.extend((arrived, event) for event in events)
        self._ended = mark is Mark.END


def fault_of(error: BaseException) -> ParleyError:
    """The error as others are told of it."""
    return error if isinstance(error, ParleyError) else EngineDefect("The recogniser failed on this audio.")


class EngineDefect(Fatal):
    """A defect of ours: the same audio fails again."""

    code = EngineError.code
