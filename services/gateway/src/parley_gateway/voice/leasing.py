"""What a lease is told and asks for, and what it knows of the workers it deals with."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field

from parley_protocol.audio import Ended, Failed, Heard, Leased, Partial, SpeechStarted, SpeechStopped
from parley_protocol.faults import FaultCode


class Phase(enum.StrEnum):
    """``ASKING``: nobody listens. ``MOVING``: somebody does, and another one is asked."""

    ASKING = "asking"
    LEASED = "leased"
    MOVING = "moving"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the settings of the same names."""

    progress_s: float = 1.0
    lease_s: float = 2.0
    failover_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Boundary:
    """``mark``: the first mark that has not been answered. ``utterance``: the next one to be told."""

    at: int = 0
    mark: int = 0
    utterance: int = 0


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


@dataclass(slots=True)
class Asked:
    """A lease that nobody has taken yet, under each of ``epochs``: the first that is taken counts. ``lost``: the last
    publish came to nothing, for this reason.
    """

    epochs: list[int]
    boundary: Boundary
    since: float
    asked_at: float
    lost: FaultCode | None = None


@dataclass(slots=True)
class Run:
    """One worker under one epoch: what has been sent to it, what it has taken and told."""

    epoch: int
    worker: str
    sent: int
    mark: int
    utterance: int
    taken: int = 0
    unanswered: deque[tuple[int, float]] = field(default_factory=deque)
    """(end of a part, when it was sent)."""
    sent_at: float = 0.0
    probe: bool = False
