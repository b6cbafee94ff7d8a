"""Who hears a spoken answer, and what of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from parley_protocol.client import Voice
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import TurnId

MAX_VOICE = 64


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """Audio of an answer: ``at_samples`` into it, PCM, 16 bits, little-endian, mono. When it has been heard, ``said``
    code points of the answer's text have.
    """

    turn: TurnId
    sentence: int
    at_samples: int
    rate: int
    pcm: bytes
    said: int = 0


@dataclass(frozen=True, slots=True)
class SpokenSoFar:
    """An answer that was interrupted: the code points of its text, and the milliseconds, that had been heard."""

    turn: TurnId
    heard: int
    ms: int


class Speaks(Protocol):
    """Who hears it. Called on the loop, in order; must not block."""

    def on_audio(self, chunk: AudioChunk) -> None:
        """Play this, after what came before."""
        ...

    def on_flush(self, turn: TurnId, ms: int, ended: bool) -> None:
        """Forget what has not been played. ``ended``: no more comes; else what follows goes on from ``ms``."""
        ...

    def on_spoken(self, turn: TurnId, ms: int, fault: Fault | None) -> None:
        """All audio of the answer has been given."""
        ...


@dataclass(frozen=True, slots=True)
class Outlet:
    """``given``: an answer is over for it when all of it has been given, not when it has been heard. ``room``: whether
    it takes more.
    """

    speaks: Speaks
    given: bool
    room: Callable[[], bool]


def check_voice(voice: Voice) -> None:
    """Raises ProtocolError ``invalid`` that names the field."""
    if not 8_000 <= voice.rate <= 48_000:
        raise ProtocolError(FaultCode.INVALID, "speak.rate must be 8000 to 48000")
    if not 0.25 <= voice.speed <= 4.0:
        raise ProtocolError(FaultCode.INVALID, "speak.speed must be 0.25 to 4")
    if len(voice.voice) > MAX_VOICE or len(voice.language) > MAX_VOICE:
        raise ProtocolError(FaultCode.INVALID, f"speak.voice and speak.language may have {MAX_VOICE} characters")
