"""What workers tell gateways about turns, and how it travels.

One AMQP message carries one :class:`Batch`: the events of any number of turns of one gateway. Within a turn, ``n``
numbers items from 0 within a fence and each later stage counts on; ``at`` is the number of code points of answer
text before the item. Order comes from (fence, n), never from queues.
"""

import enum

import msgspec

from parley_protocol.ids import TurnKey
from parley_protocol.readings import MetricData


class TurnStatus(enum.StrEnum):
    """How a turn ended. ``OPEN`` is a row's state before that."""

    OPEN = "open"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    EXPIRED = "expired"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A passage offered to the answer. ``[1]`` in an answer is the first source of the turn."""

    id: str
    document: str
    """Path of the document within its knowledge base."""
    title: str
    score: float
    text: str
    start: int
    end: int
    """Code point offsets of ``text`` in the document's extracted text."""
    kb: str = ""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the engine counts them; 0 where it does not."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Hop(msgspec.Struct, frozen=True, array_like=True):
    """One stage of one turn: milliseconds in its queue (by wall clocks, never below 0) and at work (monotonic)."""

    stage: str
    wait_ms: float
    work_ms: float
    first_ms: float = 0.0
    """Milliseconds of work before the stage's first delta; 0 for stages without one."""


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a turn failed or expired, in words for its user. Never holds the text of the turn."""

    code: str
    message: str
    retryable: bool = False


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """The model wants the client to call a function. ``arguments``: JSON, as the model wrote it."""

    id: str
    name: str
    arguments: str


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an engine says of the end of an answer beside its text."""

    finish: str = ""
    """``length``: cut at the bound on tokens; ``filter``: cut by the engine's own filter; empty: it was whole."""
    calls: tuple[ToolCall, ...] = ()


class Status(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """Mark: the turn entered a stage of work (``routing``, ``retrieving``, ``generating``)."""

    n: int
    stage: str


class Transcript(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """Mark: the whole hypothesis so far."""

    n: int
    text: str
    final: bool = False


class Retrieval(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """Mark: what the question was taken for, where it goes and which passages back the answer."""

    n: int
    intent: str
    route: str
    sources: tuple[Source, ...] = ()
    data: tuple[MetricData, ...] = ()
    """Readings that the answer is made from, one entry for each metric."""


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """Answer text after the first ``at`` code points. Never empty."""

    n: int
    at: int
    text: str


class Marks(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last mark of each kind: all that a later reader needs of the earlier ones."""

    status: str = ""
    transcript: str = ""
    retrieval: Retrieval | None = None


class Snapshot(msgspec.Struct, frozen=True, array_like=True, tag="S"):
    """Replaces every earlier item of the turn. ``n`` is the next item's number."""

    n: int
    marks: Marks
    text: str | None = None
    """The answer so far from its first code point; None means "not generating yet"."""
    ending: bool = False
    """The run has published its record: read the row soon."""


class Terminal(msgspec.Struct, frozen=True, array_like=True, tag="T"):
    """News that the row was closed. The row is the truth; this repeats what it says. Never fenced."""

    n: int
    """Number of items of the run that was recorded."""
    status: TurnStatus
    text: str | None = None
    """None: whatever the reader delivered is the text."""
    sources: tuple[Source, ...] = ()
    usage: Usage | None = None
    hops: tuple[Hop, ...] = ()
    fault: Fault | None = None
    marks: Marks = msgspec.field(default_factory=Marks)
    submission: str = ""
    """The row's: whose turn it was. Empty: not said."""
    ending: Ending | None = None


class Refusal(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """The first stage did not take this submission (``conflict``); the turn itself is not touched."""

    submission: str
    fault: Fault


Event = Status | Transcript | Retrieval | Delta | Snapshot | Terminal | Refusal


class TurnEvents(msgspec.Struct, frozen=True, array_like=True):
    """Events of one run of one turn, in order of ``n``."""

    key: TurnKey
    fence: int
    events: tuple[Event, ...]
    sender: str = ""
    """Process id of the worker, where ``stop``, ``leave`` and ``prefix`` go."""


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """Events of many turns for one gateway. Sent at most once as bytes: a failed batch is followed by snapshots."""

    turns: tuple[TurnEvents, ...]


class Reply(msgspec.Struct, frozen=True, array_like=True, tag="y"):
    """Answer to a :class:`parley_protocol.control.Call` or a knowledge-base command."""

    call: str
    body: bytes = b""
    """MessagePack of the type that the call asks for; empty with a ``fault``."""
    fault: Fault | None = None
