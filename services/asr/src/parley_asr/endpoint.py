"""Where speech begins, pauses and ends, from one probability per frame. Pure."""

import enum

from parley_protocol.audio import Endpointing

FRAME = 512
"""Samples of a frame."""
FRAME_MS = 32
HYSTERESIS = 0.15
"""Speech goes on down to so much below the threshold that began it."""


def frames(ms: int) -> int:
    """Frames that last for at least ``ms``; one at least."""
    return max(1, -(-ms // FRAME_MS))


class Sign(enum.Enum):
    """What a frame has shown."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


class Endpointer:
    """Signs come in the order START (PAUSE RESUME)* PAUSE STOP. ``since`` is, after START and RESUME, how many frames
    of speech there have been; after PAUSE and STOP, how many of silence.
    """

    def __init__(self, terms: Endpointing) -> None:
        self._begins_at = terms.threshold
        self._ends_below = max(0.01, terms.threshold - HYSTERESIS)
        self._start = frames(terms.start_ms)
        self._stop = frames(terms.silence_ms)
        self._pause = min(self._stop, frames(terms.pause_ms))
        self.speaking = False
        self.paused = False
        self.since = 0
        self._run = 0
        self._silence = 0

    def push(self, probability: float) -> tuple[Sign, ...]:
        """One more frame."""
        if self.speaking and not self.paused:
            return self._while_speaking(probability)
        self._run = self._run + 1 if probability >= self._begins_at else 0
        if self._run >= self._start:
            sign = Sign.RESUME if self.paused else Sign.START
            self.since, self._run, self._silence = self._run, 0, 0
            self.speaking, self.paused = True, False
            return (sign,)
        if self.paused:
            self._silence += 1
            return self._stopped()
        return ()

    def _while_speaking(self, probability: float) -> tuple[Sign, ...]:
        if probability >= self._ends_below:
            self._silence = 0
            return ()
        self._silence += 1
        if self._silence < self._pause:
            return ()
        self.paused = True
        self.since, self._run = self._silence, 0
        return (Sign.PAUSE, *self._stopped())

    def _stopped(self) -> tuple[Sign, ...]:
        if self._silence < self._stop:
            return ()
        self.since = self._silence
        self.speaking = self.paused = False
        self._silence = 0
        return (Sign.STOP,)
