"""What a synthesizer is."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

SAMPLE = 2
"""Bytes of one sample: PCM, 16 bits, little-endian, mono."""
RATES = (8_000, 48_000)
"""Lowest and highest rate of audio that may be asked for, Hz."""
SPEEDS = (0.25, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """Something to say. ``voice`` and ``language`` empty: told by the text; a voice that the engine does not have
    counts as none. ``speed`` is a factor of the engine's usual one.
    """

    text: str
    rate: int = 24_000
    voice: str = ""
    language: str = ""
    speed: float = 1.0


class Synthesizer(Protocol):
    """An engine. Opened by its registration, used for any number of utterances at once, closed once.

    ``deterministic``: the same utterance gives the same samples, in any process.
    """

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def deterministic(self) -> bool: ...

    def speak(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        """Stream PCM at the utterance's rate, in whole samples. The event loop is never held up. Closing the generator,
        or cancelling the task that reads it, stops the engine's work within 100 ms; other utterances are not touched.

        Raises:
            EngineError: this attempt failed; another may succeed. Audio may have been yielded before.
            EngineRejected: the engine refuses this text: there is nothing in it that can be said.
        """
        ...

    def problem(self) -> str | None:
        """Why the engine cannot speak at present, for readiness; None where it can."""
        ...

    async def close(self) -> None:
        """Free everything. Idempotent."""
        ...
