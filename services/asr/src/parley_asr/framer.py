"""Bytes of a stream into frames of one size, from a boundary on. Pure."""

from collections.abc import Iterator

import numpy as np

from parley_asr.endpoint import FRAME
from parley_asr.engine import Samples
from parley_asr.intake import Intake


class Tape:
    """The bytes of a stream that something may still have to be heard of, beginning at ``start``."""

    def __init__(self, start: int) -> None:
        self.data = bytearray()
        self.start = start

    @property
    def end(self) -> int:
        """Position of the next byte."""
        return self.start + len(self.data)

    def append(self, data: bytes) -> None:
        """The next bytes."""
        self.data += data

    def read(self, at: int, size: int | None = None) -> bytes:
        """``size`` bytes from the position ``at`` on, or all that there are."""
        first = at - self.start
        return bytes(self.data[first:] if size is None else self.data[first : first + size])

    def trim(self, at: int) -> None:
        """Forget what lies before the position ``at``."""
        if at > self.start:
            del self.data[: at - self.start]
            self.start = at


class Framer:
    """Reads ``tape`` from the position ``at`` on, which lies ``ms`` into the stream, through a fresh ``intake``."""

    def __init__(self, tape: Tape, at: int, ms: float, intake: Intake) -> None:
        self.at = at
        self.ms = ms
        self.fed = at
        """Position of the next byte that is read."""
        self._tape = tape
        self._intake = intake
        self._left: Samples = np.zeros(0, np.float32)

    def frames(self) -> Iterator[Samples]:
        """Every frame that is whole by now. Raises Invalid."""
        while size := self._whole():
            samples = self._intake.push(self._tape.read(self.fed, size))
            self.fed += size
            yield from self._cut(samples)

    def last(self) -> Iterator[Samples]:
        """The rest, filled up with silence: nothing follows. What is no whole sample is left on the tape."""
        taken, samples = self._intake.flush(self._tape.read(self.fed))
        self.fed += taken
        missing = -(self._left.size + samples.size) % FRAME
        yield from self._cut(np.concatenate((samples, np.zeros(missing, np.float32))))

    def skip(self) -> None:
        """Read all that is there, and hear nothing of it."""
        while size := self._whole():
            self._intake.skip(self._tape.read(self.fed, size))
            self.fed += size
        taken, _ = self._intake.flush(self._tape.read(self.fed))
        self.fed += taken

    def position(self, frame: int) -> int:
        """Position at which ``frame`` begins."""
        return self.at + self._intake.position(frame * FRAME)

    def read_ms(self) -> float:
        """How far into the stream lies what has been read."""
        return self.ms + self._intake.ms(self.fed - self.at)

    def _whole(self) -> int:
        return self._intake.whole(self._tape.data, self.fed - self._tape.start)

    def _cut(self, samples: Samples) -> Iterator[Samples]:
        left = np.concatenate((self._left, samples))
        whole = left.size // FRAME * FRAME
        self._left = left[whole:]
        for at in range(0, whole, FRAME):
            yield left[at : at + FRAME]
