"""One stream's audio into cues: from each boundary on everything that remembers anything is made anew. Pure."""

from collections.abc import Callable, Generator, Iterable

from parley_asr.cues import Cue, End, Keep
from parley_asr.engine import Samples
from parley_asr.framer import Framer, Tape
from parley_asr.intake import Intake, Leveller, ms_at
from parley_asr.stretch import Boundary, Stretch
from parley_asr.vad import Ask, Vad
from parley_protocol.audio import Hearing, Mark

Cutting = Generator[Ask, float, list[Cue]]
"""Asks of each frame in turn, is sent the probability, and returns the cues."""


class Cutter:
    """``at``: the boundary to begin at, and ``utterance`` the number of the first one. Not for several threads at once,
    and one cutting at a time; of no use after one that has raised.
    """

    def __init__(
        self,
        hearing: Hearing,
        at: int,
        utterance: int,
        *,
        vad: Callable[[], Vad],
        intake: Callable[[Hearing], Intake],
    ) -> None:
        self._hearing = hearing
        self._make_vad = vad
        self._make_intake = intake
        self._tape = Tape(at)
        self._utterance = utterance
        self._cues: list[Cue] = []
        self._begin(Boundary(at, 0.0))

    @property
    def taken(self) -> int:
        """Position of the next byte."""
        return self._tape.end

    @property
    def kept(self) -> int:
        """Bytes that are kept at present."""
        return len(self._tape.data)

    @property
    def audio_ms(self) -> int:
        """Of the stream, so far."""
        return self._stretch.ms

    def cut(self, data: bytes, mark: Mark = Mark.NONE) -> Cutting:
        """The next bytes, and what is said after them. Raises Invalid."""
        self._tape.append(data)
        if mark is Mark.CLEAR:
            self._clear()
        else:
            yield from self._whole()
            if mark in (Mark.COMMIT, Mark.END):
                yield from self._commit()
        self._tape.trim(min(self._stretch.oldest, self._framer.fed))
        cues = self._cues.copy()
        self._cues.clear()
        return cues

    def _begin(self, boundary: Boundary) -> None:
        """Everything anew; the boundary's time counts where its position does not tell."""
        known = ms_at(self._hearing, boundary.at)
        ms = boundary.ms if known is None else known
        self._framer = Framer(self._tape, boundary.at, ms, self._make_intake(self._hearing))
        self._leveller = Leveller()
        self._vad = self._make_vad()
        self._stretch = Stretch(self._hearing, self._utterance, self._framer, self._cues)

    def _whole(self) -> Generator[Ask, float, None]:
        """Every whole frame, from each new boundary on anew."""
        framer = None
        while framer is not self._framer:
            framer = self._framer
            yield from self._frames(framer.frames())

    def _commit(self) -> Generator[Ask, float, None]:
        """Everything is heard to its last sample, and the utterance ends there."""
        framer = None
        while framer is not self._framer:
            yield from self._whole()
            framer = self._framer
            yield from self._frames(framer.last())
        self._stretch.commit()
        self._turn()

    def _frames(self, frames: Iterable[Samples]) -> Generator[Ask, float, None]:
        """Up to the next boundary, if there is one among them."""
        for each in frames:
            frame = self._leveller.push(each)
            self._stretch.push(frame, (yield Ask(self._vad, frame)))
            if self._turn():
                return

    def _turn(self) -> bool:
        """Whether there has been a boundary."""
        boundary = self._stretch.boundary
        if boundary is None:
            return False
        self._utterance += isinstance(self._cues[-1], End)
        self._begin(boundary)
        return True

    def _clear(self) -> None:
        """A boundary after the last whole sample, nothing before which is heard."""
        self._framer.skip()
        boundary = Boundary(self._framer.fed, self._framer.read_ms())
        self._cues.append(Keep(boundary.at))
        self._begin(boundary)
