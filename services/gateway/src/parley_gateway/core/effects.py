"""What the session asks of the shell. Effects are carried out in order; none of them calls back before it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parley_protocol.client import ServerFrame
from parley_protocol.control import Prefix
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey

if TYPE_CHECKING:
    from parley_gateway.core.entry import Entry
    from parley_gateway.core.view import Sink


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish the turn's job with a confirm, under a fresh submission; then report the outcome to the session."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class PublishRecord:
    """Publish a forced record with exactly the text delivered (as other gateways tell it where it is not known here),
    until it is confirmed or the turn has ended; then broadcast ``stop``.
    """

    entry: Entry
    status: TurnStatus


@dataclass(frozen=True, slots=True)
class Watch:
    """Read the turn's row and, while it is open, broadcast an attach to workers. ``taken``: other gateways are told too
    that the turn is followed here now. Nothing but counting depends on it, so once a watch is enough.
    """

    entry: Entry
    cause: str
    attach: bool = True
    taken: bool = False


@dataclass(frozen=True, slots=True)
class SendStop:
    """Tell one worker (all workers where ``to`` is empty) that runs below ``fence`` (0: all) are over."""

    key: TurnKey
    fence: int
    to: str = ""


@dataclass(frozen=True, slots=True)
class SendLeave:
    """Tell all workers that nobody listens to the turn here any more."""

    key: TurnKey


@dataclass(frozen=True, slots=True)
class SendPrefix:
    """Answer a ``begin``: nothing of a lower fence is delivered any more."""

    to: str
    prefix: Prefix


@dataclass(frozen=True, slots=True)
class Touch:
    """Views of the turn have something to write."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Tell:
    """A frame without ``seq`` to every socket that follows the turn."""

    entry: Entry
    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class TellOne:
    """A frame without ``seq`` to one socket."""

    sink: Sink
    frame: ServerFrame


@dataclass(frozen=True, slots=True)
class Opened:
    """The turn is held from here on: route its events to it."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Ended:
    """The turn is over (or was never taken: ``taken`` False) and may be forgotten after the resume window."""

    entry: Entry
    taken: bool = True


Effect = Publish | PublishRecord | Watch | SendStop | SendLeave | SendPrefix | Touch | Tell | TellOne | Opened | Ended
