"""How large a modelled world is, what its clients know, and how it says that something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from parley_protocol.position import Position

from .marks import Seen

FAULT_KINDS = (
    "kill rag",  # a first stage's worker, between any two of its steps
    "kill engine",
    "kill gateway",
    "kill recorder",  # and parker
    "channel rag",  # a first stage's worker loses its deliveries and goes on
    "channel engine",
    "unknown",  # the outcome of a publish
    "epoch",  # a gateway's event queue is lost
    "batch",  # one batch fails, and its sender knows
    "control",  # one control message is lost
    "time",  # a timer runs out while messages are still on their way
    "drop",  # a client loses its socket
    "stall",  # a client stops reading for a while
    "engine",  # the engine fails: the retry ladder
    "refusal",  # the engine refuses for good
    "drain",  # a worker hands its run over
    "seat",  # a run waits for a seat
    "budget",  # a worker's, a gateway's or the broker's deadline passes
    "poison",  # the delivery limit
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a world is. ``second``: where another socket of the session is ("", ``same`` or ``other`` gateway).
    ``engine``: ``replays`` (the same answer each time), ``differs`` or ``continues``.
    ``abandon``: gateways leave turns that nobody listens to. ``always``: later stages claim every delivery.
    """

    turns: int = 1
    tokens: int = 1
    gates: int = 2
    rags: int = 1
    engines: int = 2
    faults: int = 1
    cancels: int = 0
    second: str = ""
    engine: str = "replays"
    kinds: frozenset[str] = frozenset(FAULT_KINDS)
    abandon: bool = False
    always: bool = False

    @property
    def early(self) -> bool:
        """Whether a timer may run out while what it waits for is on its way."""
        return self.faults > 0 and "time" in self.kinds


class Violation(Exception):
    """An invariant does not hold after a step."""


class Told(NamedTuple):
    """What a client knows of a turn: ``new``, ``sent``, ``pending`` (accepted) or ``done``."""

    state: str = "new"
    text: str = ""
    position: Position | None = None
    cancelled: bool = False
    seen: Seen = Seen()


class Client(NamedTuple):
    """``sock``: the gateway it is connected to, or "". ``last``: the turn of its last position. ``waits``: it joins
    once the first client has sent a turn.
    """

    sock: str
    turns: tuple[Told, ...]
    last: int = -1
    waits: bool = False


class Ghost(NamedTuple):
    """History that only the invariants read."""

    accepted: tuple[bool, ...]
    begun: tuple[tuple[tuple[str, int], ...], ...]
    submissions: int = 0
    gates: int = 0
