"""Audio of one sentence as it is cut into parts. Pure, but for the clock of its figures."""

import time

from parley_inference.speech.synthesizer import SAMPLE
from parley_protocol.audio import Speak, Spoken
from parley_protocol.events import Fault


class Sentence:
    """Parts are numbered from 0; the first is short. ``now_wall`` is compared with the job's own stamp, for figures
    only.
    """

    def __init__(self, job: Speak, now_wall: float, *, first_ms: int, part_ms: int) -> None:
        self._job = job
        self._first = _bytes(job.rate, first_ms)
        self._size = _bytes(job.rate, part_ms)
        self._buffer = bytearray()
        self._part = 0
        self._samples = 0
        self._begun = time.perf_counter()
        self.wait_ms = max(0.0, (now_wall - job.sent_at) * 1000) if job.sent_at else 0.0

    @property
    def work_ms(self) -> float:
        """Since it was taken."""
        return (time.perf_counter() - self._begun) * 1000

    @property
    def audio_s(self) -> float:
        """Sent so far."""
        return self._samples / self._job.rate

    def feed(self, pcm: bytes) -> list[Spoken]:
        """Parts that are whole by now."""
        self._buffer += pcm
        parts = []
        while len(self._buffer) >= (size := self._size if self._part else self._first):
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            parts.append(self._next(data))
        return parts

    def end(self) -> Spoken:
        """The last part, which may be empty."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return self._next(data, last=True)

    def failed(self, fault: Fault) -> Spoken:
        """There is no more of it."""
        return self._next(b"", last=True, fault=fault)

    def _next(self, data: bytes, *, last: bool = False, fault: Fault | None = None) -> Spoken:
        job, part = self._job, self._part
        self._part += 1
        self._samples += len(data) // SAMPLE
        return Spoken(
            job.speech,
            job.index,
            job.attempt,
            part,
            data,
            job.rate,
            last,
            fault,
            round(self.wait_ms, 3),
            round(self.work_ms, 3),
        )


def _bytes(rate: int, ms: int) -> int:
    return max(1, rate * ms // 1000) * SAMPLE
