"""A conversation hands free, as its client saw it: the only thing that the judge is given, beside the stored rows."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Line:
    """What is to be said. ``over``: while the answer to the line before is being spoken. A ``backchannel`` asks
    nothing, and is said once.
    """

    text: str
    over: bool = False
    backchannel: bool = False


@dataclass(frozen=True)
class Saying:
    """The client begins to say line ``line``."""

    line: int


@dataclass(frozen=True)
class Said:
    """It has sent the line's words and the silence that ends them, on one stream."""

    line: int


@dataclass(frozen=True)
class Frame:
    """As it was read."""

    data: dict[str, Any]


@dataclass(frozen=True)
class Audio:
    """A frame of ``answer.audio``: so many ``samples`` from ``at`` on."""

    turn: str
    at: int
    samples: int


@dataclass(frozen=True)
class Lost:
    """The socket is gone."""


Sight = Saying | Said | Frame | Audio | Lost


@dataclass(frozen=True)
class Row:
    """Of the store."""

    turn: str
    question: str
    status: str
    text: str
    heard: int | None


@dataclass
class Talk:
    """One conversation. ``rows`` are all of its session, in the order in which they were begun."""

    lines: tuple[Line, ...]
    sights: list[Sight] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    over: bool = False
    """It came to its end: every line was asked, every turn told to its end."""
