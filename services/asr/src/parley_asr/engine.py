"""What a recogniser is to the listening stage.

A :class:`Transcriber` is one engine of the process; a :class:`Recognition` is its work on one segment of speech of one
stream. Its methods are called off the event loop, by one thread at a time, and may block; whatever an engine does for
several streams at once (batches, a pool of decoders) it does behind them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

RATE = 16_000
"""Hz of the samples that engines and voice activity detectors are given: mono, floats from -1 to 1."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Base:
    """A knowledge base whose words are likely to be said."""

    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known of a stream before anything is heard."""

    language: str = ""
    prompt: str = ""
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A word and its place in the segment, in seconds."""

    text: str
    start_s: float
    end_s: float
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The segment's text so far; its first ``stable`` code points are in every later one, and in the outcome."""

    text: str
    stable: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was said in the segment."""

    text: str
    words: tuple[Said, ...] = ()


class Recognition(Protocol):
    """One segment. The outcome depends on the samples alone, never on how they were cut into ``feed`` calls nor on
    what other streams say meanwhile.
    """

    def feed(self, samples: Samples) -> None:
        """More audio. Raises EngineError."""
        ...

    def partial(self) -> Hypothesis:
        """The hypothesis as of the last ``feed``. Cheap."""
        ...

    def finish(self) -> Outcome:
        """There is no more audio; called once, and the last but for ``close``. Raises EngineError."""
        ...

    def close(self) -> None:
        """Give everything back. Idempotent; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an engine can do. ``languages``: primary subtags; empty: any. ``batch``: streams that it decodes in one call
    of its model, at most. ``vocabularies``: it makes something of the words of knowledge bases.
    """

    languages: tuple[str, ...] = ()
    partials: bool = True
    words: bool = True
    batch: int = 1
    vocabularies: bool = False

    def hears(self, language: str) -> bool:
        """Whether ``language`` (a BCP 47 tag; empty: the engine's own) can be heard."""
        return not language or not self.languages or language.split("-", maxsplit=1)[0].lower() in self.languages


class Transcriber(Protocol):
    """An engine, open and usable."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def abilities(self) -> Abilities: ...

    def open(self, hint: Hint, /) -> Recognition:
        """A new segment. Cheap; may be called off the loop."""
        ...

    def knows(self, base: Base, version: str) -> bool:
        """Whether hints that name ``base`` now mean this ``version`` of it. Asked of engines with ``vocabularies``,
        off the loop.
        """
        ...

    def prepare(self, base: Base, version: str, texts: Sequence[str]) -> None:
        """Passages of ``base``, for hints that name it from now on. Called off the loop; may take seconds."""
        ...

    def spent_s(self) -> float:
        """CPU seconds that this engine's processes have used so far. May block."""
        ...

    def problem(self) -> str | None:
        """Why it cannot be used at present; None while it can."""
        ...

    def close(self) -> None:
        """Give everything back. Idempotent; may block for a moment."""
        ...
