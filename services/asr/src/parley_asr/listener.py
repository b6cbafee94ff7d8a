"""One stream under one lease: bytes and marks in, events out. Pure: no I/O of its own, no loop, no clock.

What is heard is a function of the audio since the last boundary. At each boundary everything that remembers anything
is made anew, and whatever audio lies behind the boundary is heard again by the new parts, in undisturbed runs too: that
is why another worker that begins there hears the same. Boundaries are: the end of each utterance (by silence, commit,
clear, or for its length), and long silence.

The work is in two steps that may be done apart: the ``cutter`` finds speech in the audio, and the ``scribe`` has its
words written down.
"""

from collections.abc import Callable
from dataclasses import dataclass

from parley_asr.cutter import Cutter
from parley_asr.engine import Recognition
from parley_asr.intake import Intake, open_intake
from parley_asr.scribe import Event, Scribe
from parley_asr.vad import Vad
from parley_protocol.audio import Hearing, Mark


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes what is made anew at each boundary."""

    vad: Callable[[], Vad]
    recognition: Callable[[], Recognition]
    intake: Callable[[Hearing], Intake] = open_intake


class Listener:
    """``at``: the boundary to begin at, and ``utterance`` the number of the first one. Not thread-safe; may block where
    engines do. Raises what engines and intakes raise, and is of no use after that but for :meth:`close`.
    """

    def __init__(self, hearing: Hearing, at: int, utterance: int, parts: Parts) -> None:
        self.cutter = Cutter(hearing, at, utterance, vad=parts.vad, intake=parts.intake)
        self.scribe = Scribe(hearing, at, utterance, parts.recognition)

    @property
    def keep(self) -> int:
        """The last boundary."""
        return self.scribe.keep

    @property
    def utterance(self) -> int:
        """Number of the utterance that begins there or later."""
        return self.scribe.utterance

    @property
    def taken(self) -> int:
        """Position of the next byte."""
        return self.cutter.taken

    @property
    def audio_ms(self) -> int:
        """Of the stream, so far."""
        return self.cutter.audio_ms

    def feed(self, data: bytes, mark: Mark = Mark.NONE) -> list[Event]:
        """The next bytes, and what is said after them: both steps at once, for this stream alone."""
        cutting = self.cutter.cut(data, mark)
        try:
            ask = next(cutting)
            while True:
                ask = cutting.send(ask.vad.score(ask.frame))
        except StopIteration as end:
            return self.scribe.write(end.value, self.audio_ms)

    def close(self) -> None:
        """Give back what the engine holds. Idempotent."""
        self.scribe.close()
