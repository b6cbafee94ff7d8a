"""The audio from one boundary to the next: which of it is speech, and where the next boundary is. Pure."""

from collections import deque
from dataclasses import dataclass

from parley_asr.cues import Cue, End, Keep, Show
from parley_asr.endpoint import FRAME_MS, Endpointer, Sign, frames
from parley_asr.engine import Samples
from parley_asr.framer import Framer
from parley_asr.segments import Frame, Segments
from parley_protocol.audio import Hearing, SpeechStarted, SpeechStopped

FIRST = frames(1000)
"""A segment that begins so soon after its boundary begins at the boundary: a detector made anew is slow at first."""
CUT = frames(1000)
"""An utterance that is too long is cut within its last so many frames."""
QUIET = frames(5000)
"""After so many frames without speech the boundary moves..."""
QUIET_AT_LAST = frames(15_000)
"""... or after so many, where there are noises that no utterance begins with."""
LOOK_BACK = frames(500)
"""... to so many frames before that moment."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """A position, and how far into the stream it lies."""

    at: int
    ms: float


class Stretch:
    """Frames with their probabilities in, ``cues`` out, until there is a :class:`Boundary`. ``utterance``: the number
    of the one that may be in it.
    """

    def __init__(self, hearing: Hearing, utterance: int, framer: Framer, cues: list[Cue]) -> None:
        terms = hearing.endpointing
        self.boundary: Boundary | None = None
        """The next one, once it is known."""
        self._cues = cues
        self._by_silence = hearing.by_silence
        self._threshold = terms.threshold
        self._prefix = frames(terms.prefix_ms)
        self._longest = max(2 * CUT, frames(terms.longest_ms))
        self._utterance = utterance
        self._framer = framer
        self._endpointer = Endpointer(terms)
        self._segments = Segments(cues, certain=self._longest - CUT)
        self._frames = 0
        self._floor = 0
        """Frames before this one belong to finished segments."""
        self._loudest = 0.0
        recent = max(self._prefix, FIRST, CUT, LOOK_BACK)
        self._recent: deque[Frame] = deque(maxlen=recent + frames(terms.start_ms) + 1)

    @property
    def ms(self) -> int:
        """Of the stream, so far."""
        return self._time(self._frames)

    @property
    def oldest(self) -> int:
        """The first position that the next boundary may lie at."""
        return max(self._framer.at, self._framer.position(self._frames - (self._recent.maxlen or 0)))

    def push(self, samples: Samples, probability: float) -> None:
        """The next frame. Not for one that has its boundary."""
        frame = Frame(self._frames, samples, probability)
        self._frames += 1
        self._recent.append(frame)
        self._loudest = max(self._loudest, probability)
        signs = self._endpointer.push(probability)
        if self._segments.open:
            self._segments.hear(frame, self._frames)
        for sign in signs:
            self._sign(sign, frame.index)
        if self.boundary is None:
            self._bound()

    def commit(self) -> None:
        """Everything that there is has been pushed, and the utterance ends here."""
        framer = self._framer
        self._segments.release()
        self._any()
        self._segments.finish(self.ms)
        if self._endpointer.speaking:
            self._cues.append(SpeechStopped(self._utterance, self._segments.end_ms))
        self._end(Boundary(framer.fed, framer.read_ms()), marked=True)

    def _time(self, frame: int) -> int:
        """Milliseconds of the stream at which ``frame`` begins."""
        return round(self._framer.ms + frame * FRAME_MS)

    def _any(self) -> None:
        """Who commits an utterance may have spoken too shortly for a beginning: hear it where there is any speech."""
        if self._segments.begun or self._loudest < self._threshold:
            return
        first = self._recent[0].index
        self._segments.begin(first, self._time(first), self._time(first))
        for frame in self._recent:
            self._segments.add(frame)

    def _sign(self, sign: Sign, now: int) -> None:
        if sign in (Sign.START, Sign.RESUME):
            speech = now + 1 - self._endpointer.since
            self._start(speech)
            started = SpeechStarted(self._utterance, self._time(speech))
            self._cues.append(started if sign is Sign.START else Show(self.ms, paused=False))
        elif sign is Sign.PAUSE:
            self._segments.release()
            self._segments.finish(self._time(now + 1 - self._endpointer.since))
            self._floor = now + 1
            self._cues.append(Show(self.ms, paused=True))
        else:
            self._cues.append(SpeechStopped(self._utterance, self._segments.end_ms))
            if self._by_silence:
                at = max(self._floor, now + 1 - self._prefix)
                self._end(Boundary(self._framer.position(at), self._time(at)))

    def _start(self, speech: int) -> None:
        first = max(0 if speech <= FIRST else speech - self._prefix, self._floor)
        self._segments.begin(first, self._time(first), self._time(speech))
        for frame in self._recent:
            if frame.index >= first:
                self._segments.hear(frame, self._frames)

    def _bound(self) -> None:
        """Cut what is too long, and forget what is long and silent."""
        if self._segments.begun:
            if self._frames - self._segments.first >= self._longest:
                self._cut()
            return
        if self._frames < QUIET:
            return
        back = self._frames - LOOK_BACK
        quiet = all(frame.probability < self._threshold for frame in self._recent if frame.index >= back)
        if quiet or self._frames >= QUIET_AT_LAST:
            self.boundary = Boundary(self._framer.position(back), self._framer.ms + back * FRAME_MS)
            self._cues.append(Keep(self.boundary.at))

    def _cut(self) -> None:
        window = [frame for frame in self._recent if frame.index >= self._frames - CUT]
        at = max(min(window, key=lambda frame: frame.probability).index, self._floor)
        self._segments.release(before=at)
        self._segments.finish(self._time(at))
        self._end(Boundary(self._framer.position(at), self._time(at)), cut=True)

    def _end(self, boundary: Boundary, *, cut: bool = False, marked: bool = False) -> None:
        segments = self._segments
        start = segments.start_ms if segments.begun else round(self._framer.ms)
        end = segments.end_ms if segments.begun else round(boundary.ms)
        self.boundary = boundary
        self._cues.append(End(boundary.at, start, end, cut, marked))
