"""The segments of one utterance, from one pause to the next: what is told at a pause is then what the utterance's last
word will be if nobody speaks any more. Pure.
"""

from dataclasses import dataclass

from parley_asr.cues import Add, Begin, Cue, Finish
from parley_asr.engine import Samples


@dataclass(slots=True)
class Frame:
    """One frame since the boundary, and the probability of speech in it."""

    index: int
    samples: Samples
    probability: float


class Segments:
    """Written into ``cues``. An utterance that lasts for more than ``certain`` frames may have to be cut soon: from
    then on frames are held back until it is known where.
    """

    def __init__(self, cues: list[Cue], certain: int) -> None:
        self.open = False
        """Whether one is."""
        self.first = -1
        """Frame that the utterance begins with."""
        self.start_ms = self.end_ms = 0
        """Where speech in the utterance began, and where it ended so far."""
        self._cues = cues
        self._certain = certain
        self._held: list[Frame] = []

    @property
    def begun(self) -> bool:
        """Whether there has been any."""
        return self.first >= 0

    def begin(self, first: int, at_ms: int, speech_ms: int) -> None:
        """One that begins with the frame ``first``, at ``at_ms``, in which somebody speaks from ``speech_ms`` on."""
        if not self.begun:
            self.first, self.start_ms = first, speech_ms
        self.open = True
        self._cues.append(Begin(at_ms))

    def hear(self, frame: Frame, frames: int) -> None:
        """A frame of the open one, when there have been ``frames`` since the boundary."""
        if frames - self.first > self._certain:
            self._held.append(frame)
        else:
            self.add(frame)

    def add(self, frame: Frame) -> None:
        """A frame of the open one, whatever comes."""
        self._cues.append(Add(frame.samples))

    def release(self, before: int | None = None) -> None:
        """Of the frames that are held back those before that one belong to the segment, and the others to none."""
        held, self._held = self._held, []
        for frame in held:
            if before is None or frame.index < before:
                self.add(frame)

    def finish(self, end_ms: int) -> None:
        """The open one, if there is one, is over, and speech in it at ``end_ms``."""
        if self.open:
            self.end_ms = end_ms
        self.open = False
        self._cues.append(Finish())
