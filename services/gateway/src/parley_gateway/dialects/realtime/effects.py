"""What the state machine asks of the shell. Effects are carried out in order; none calls back before it returns."""

from collections.abc import Iterable
from dataclasses import dataclass

from parley_gateway.dialects.realtime.plans import Prompt
from parley_gateway.dialects.realtime.response import Responding
from parley_gateway.dialects.realtime.server import Frame


@dataclass(frozen=True, slots=True)
class Say:
    """Write an event."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Ask:
    """Have it answered; report with ``accepted``, ``piece``, then ``ended`` or ``refused``."""

    response: Responding
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Cancel:
    """End the turn of this response with exactly what was said of it; report as ever."""

    response: Responding


@dataclass(frozen=True, slots=True)
class Hush:
    """No more audio of this response: what has not been written is dropped."""

    response: Responding


@dataclass(frozen=True, slots=True)
class Kept:
    """Of the text of this response only so many code points were heard: that is to be on record."""

    response: str
    characters: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Say what is left of the socket's rate."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Have this heard."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """``commit``: what has been fed is one utterance. ``clear``: forget what has been fed since the last one."""

    kind: str


@dataclass(frozen=True, slots=True)
class Dictate:
    """Have the audio of this item heard, whole and by itself; report with ``dictated`` or ``undictated``."""

    item: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Anew:
    """The next audio begins a stream of another kind, which hears the last ``size`` bytes as well: they have not been
    committed. What has been is heard as it was said.
    """

    size: int


@dataclass(frozen=True, slots=True)
class Idle:
    """Report ``idle`` after so long; it replaces any before it. None: do not."""

    seconds: float | None


Effect = Say | Ask | Cancel | Hush | Kept | Rates | Feed | Mark | Dictate | Anew | Idle


def said(frames: Iterable[Frame]) -> list[Effect]:
    """Events to write."""
    return [Say(frame) for frame in frames]
