"""Control: small, urgent and losable. Everything here is repeated by a watch until it is no longer needed.

Broadcasts go to ``Audience.WORKERS`` or ``Audience.GATEWAYS`` on the control exchange; answers go to one process id.
"""

import enum

import msgspec

from parley_protocol.contact import ContactNews
from parley_protocol.ids import TurnKey
from parley_protocol.reviews import ReviewStatus
from parley_protocol.tutors import SessionsEnded


class Audience(enum.StrEnum):
    """Routing keys of the control exchange that many processes bind; a process also binds its own id."""

    WORKERS = "workers"
    GATEWAYS = "gateways"


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="begin"):
    """Worker to gateways and workers: a run with this fence is about to speak. Lower runs of the key end.

    A gateway raises its fence first and then answers with :class:`Prefix`.
    """

    key: TurnKey
    fence: int
    worker: str


class Prefix(msgspec.Struct, frozen=True, array_like=True, tag="prefix"):
    """Gateway to worker: the text delivered so far (None where it is not known); the gateway follows this run."""

    key: TurnKey
    fence: int
    gateway: str
    text: str | None = None


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Gateway to workers: the turn is closed, or a run with ``fence`` has begun. Runs below it end; 0: all runs."""

    key: TurnKey
    fence: int = 0


class Leave(msgspec.Struct, frozen=True, array_like=True, tag="leave"):
    """Gateway to worker: nobody here follows this turn."""

    key: TurnKey
    gateway: str
    abandoned: bool = False
    """The gateway would end the turn: the owner answers with :class:`Detached` where nobody else follows it either."""


class Detached(msgspec.Struct, frozen=True, array_like=True, tag="detached"):
    """Worker to a gateway that has abandoned a turn: no gateway follows this run, and for so long that every one with a
    socket of its session would have asked again.
    """

    key: TurnKey
    fence: int
    worker: str


class Attach(msgspec.Struct, frozen=True, array_like=True, tag="attach"):
    """Gateway to workers: follow these turns from here on; each owner answers with a snapshot. To gateways: these turns
    have been taken over; nothing but counting depends on it.
    """

    gateway: str
    keys: tuple[TurnKey, ...]


class Running(msgspec.Struct, frozen=True, array_like=True, tag="running"):
    """First stage to workers: is a run of this base alive? Answered with :class:`Alive`."""

    key: TurnKey
    base: int
    worker: str


class Alive(msgspec.Struct, frozen=True, array_like=True, tag="alive"):
    """Worker to first stage: yes, here."""

    key: TurnKey
    base: int
    worker: str


class Hail(msgspec.Struct, frozen=True, array_like=True, tag="hail"):
    """Anyone to everyone: who is there? Answered with a Reply that holds a :class:`Presence`."""

    call: str
    reply_to: str


class EngineInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An engine and why it was chosen."""

    stage: str
    name: str
    why: str
    model: str = ""


class Presence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a process says of itself."""

    id: str
    role: str
    host: str
    pid: int
    version: str
    uptime_s: float
    ready: bool
    engines: tuple[EngineInfo, ...] = ()
    seats: int = 0
    busy: int = 0
    sockets: int = 0
    sessions: int = 0
    latencies: dict[str, float] = {}
    """Milliseconds by name, for instance ``first_token_p50``; over the last minutes."""


class Hush(msgspec.Struct, frozen=True, array_like=True, tag="hush"):
    """Gateway to workers: nobody listens to this speech any more; what is being said of it may end."""

    speech: str


class ReviewMoved(msgspec.Struct, frozen=True, array_like=True, tag="review"):
    """Worker to gateways: a review has come this far. Whoever watches it reads its row for the rest."""

    tenant: str
    task: int
    status: ReviewStatus
    clauses: int = 0
    done: int = 0


Control = (
    Begin
    | Prefix
    | Stop
    | Leave
    | Attach
    | Running
    | Alive
    | Hail
    | Detached
    | ReviewMoved
    | ContactNews
    | SessionsEnded
    | Hush
)
