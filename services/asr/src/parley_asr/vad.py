"""Voice activity: a probability of speech for each frame of 512 samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from parley_asr.engine import Samples


class Vad(Protocol):
    """Of one stream, since its boundary. Called off the loop, by one thread at a time."""

    def score(self, frame: Samples) -> float:
        """Probability that somebody speaks, 0 to 1. Depends on the frames so far alone."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """How likely is it that somebody speaks in ``frame``? ``vad`` has been asked of all the frames before."""

    vad: Vad
    frame: Samples


class VadModel(Protocol):
    """Of the process."""

    @property
    def name(self) -> str: ...

    @property
    def batch(self) -> int:
        """Streams that are worth asking for at once, at most."""
        ...

    def stream(self) -> Vad:
        """A detector that has heard nothing yet."""
        ...

    def score(self, asked: Sequence[Ask]) -> Sequence[float]:
        """The next frame of each of several streams: exactly what ``Vad.score`` gives for each of them alone."""
        ...


class EnergyVad:
    """Louder than the room has been: a fallback that needs no model."""

    ABOVE = 3.0
    QUIETEST = 0.004
    FALLS, RISES = 0.2, 0.005

    def __init__(self) -> None:
        self._floor = self.QUIETEST

    def score(self, frame: Samples) -> float:
        """See :class:`Vad`."""
        level = float(np.sqrt(np.mean(np.square(frame, dtype=np.float64))))
        rate = self.FALLS if level < self._floor else self.RISES
        ratio = level / max(self._floor, self.QUIETEST)
        self._floor += rate * (level - self._floor)
        return min(1.0, ratio / (2 * self.ABOVE))


class EnergyModel:
    """Makes :class:`EnergyVad`."""

    name = "energy"
    batch = 16

    def stream(self) -> Vad:
        """See :class:`VadModel`."""
        return EnergyVad()

    def score(self, asked: Sequence[Ask]) -> Sequence[float]:
        """See :class:`VadModel`."""
        return [each.vad.score(each.frame) for each in asked]
