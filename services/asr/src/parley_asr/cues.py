"""What the audio of a stream asks of whoever writes down its words, in order: segments of speech, and boundaries.

Cues depend on the audio alone, never on what has been understood of it.
"""

from dataclasses import dataclass

from parley_asr.engine import Samples
from parley_protocol.audio import SpeechStarted, SpeechStopped


@dataclass(frozen=True, slots=True)
class Begin:
    """A segment begins at ``at_ms`` of the stream."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class Add:
    """A frame of the segment."""

    samples: Samples


@dataclass(frozen=True, slots=True)
class Finish:
    """The segment, if there is one, is over."""


@dataclass(frozen=True, slots=True)
class Show:
    """Tell what the finished segments hold, ``ms`` into the stream."""

    ms: int
    paused: bool


@dataclass(frozen=True, slots=True)
class End:
    """The utterance is over; the next one begins at ``keep`` or later."""

    keep: int
    start_ms: int
    end_ms: int
    cut: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """The boundary moves to ``at``, and nothing before it is part of any utterance."""

    at: int


Cue = Begin | Add | Finish | Show | End | Keep | SpeechStarted | SpeechStopped


def take_start(cues: list[Cue]) -> SpeechStarted | None:
    """Speech that begins in ``cues`` before anything else that is told of them: it need not wait for any words, and is
    taken out of them.
    """
    for cue in cues:
        if isinstance(cue, SpeechStarted):
            cues.remove(cue)
            return cue
        if not isinstance(cue, Begin | Add | Keep):
            return None
    return None
