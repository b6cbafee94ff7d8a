"""What leases of streams are counted by, and what they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from parley_protocol.audio import Ended, Failed, Heard, Leased, Partial, SpeechStarted, SpeechStopped


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the settings of the same names."""

    progress_s: float = 1.0
    lease_s: float = 2.0
    failover_s: float = 20.0


class Place(NamedTuple):
    """Between the bytes before ``at`` and those from there on, before the mark of that number."""

    at: int
    mark: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """``mark``: the first mark that has not been answered. ``utterance``: the next one to be told."""

    at: int = 0
    mark: int = 0
    utterance: int = 0

    @property
    def place(self) -> Place:
        """Where the audio begins that whoever listens from here on needs."""
        return Place(self.at, self.mark)


# --- effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Publish the lease under ``epoch``; ``cause`` is empty for the first one, ``replayed`` bytes go once more."""

    epoch: int
    boundary: Boundary
    cause: str = ""
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell whoever opened the ear."""

    event: SpeechStarted | SpeechStopped | Partial | Heard | Ended | Failed | Leased


@dataclass(frozen=True, slots=True)
class LetGo:
    """Tell a worker to let go of a lease."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Over:
    """The stream has ended: forget it."""


Effect = Ask | Tell | LetGo | Over
