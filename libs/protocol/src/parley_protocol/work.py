"""Jobs: what travels through the durable stage queues.

A job descends from one first-stage run (``base``) and carries the state so far, so that any run can send a whole
snapshot. Times: ``budget_s`` is what was left of the turn's deadline when the job was published; ``sent_at`` is
wall-clock time for latency figures only and decides nothing.
"""

from typing import Any

import msgspec

from parley_protocol.events import Ending, Fault, Hop, Marks, Source, ToolCall, TurnStatus, Usage
from parley_protocol.ids import SessionId, TurnKey
from parley_protocol.readings import DropReadings, PutReadings, RefusedReading

MAX_REPLY_TO = 8
"""Gateways that may follow one turn at a time."""


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a prompt or a conversation; ``role`` is ``system``, ``user``, ``assistant`` or ``tool``."""

    role: str
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Of the assistant: what it wanted to be called. A message by ``tool`` follows for each."""
    call: str = ""
    """Of ``tool``: the id of the call that this came of."""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function of the client's. ``parameters``: a JSON schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client may ask of the generator; None means the engine's own default."""

    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    """What the engine may ask the client to call, see :class:`parley_protocol.events.Ending`."""
    tool_choice: str = ""
    """``none``; ``required``: one at least; ``=`` and a name: this one; empty: as the engine sees fit."""


class Job(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """Fields of every job. ``base`` 0 means "not claimed yet"."""

    key: TurnKey
    submission: str
    """Fresh per publish call of a gateway: tells a second submission from a redelivery."""
    budget_s: float
    base: int = 0
    fence: int = 1
    again: bool = False
    """This job may have been published before; a reader must claim a fresh fence."""
    n: int = 0
    """Number of the next item."""
    marks: Marks = msgspec.field(default_factory=Marks)
    reply_to: tuple[str, ...] = ()
    """Gateway process ids, :data:`MAX_REPLY_TO` at most."""
    hops: tuple[Hop, ...] = ()
    tries: int = 0
    """Trips through the retry ladder so far at this stage."""
    sent_at: float = 0.0
    question: str = ""
    """What the user said, for the record. Never logged."""
    kb: str = "default"


class _Asking(Job, frozen=True, kw_only=True, omit_defaults=True):
    """Fields of jobs that lead to an answer."""

    engine: str = ""
    """The engine that is to answer; empty: the generation stage's own choice."""
    user: str = ""
    """What the client calls the conversation, for engines that are told; empty: nothing but its session is known."""


class Early(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a search found for a question that had not been asked yet, and all that this hangs on. It is used only where
    that still holds when the question is worked on, so an answer is the same with it and without.
    """

    kb: str
    query: str
    """What was looked for, and the words of the conversation that counted with it."""
    context: str = ""
    limit: int
    at: int
    """Position in the store's change log at which the base was changed last: where two processes say the same, their
    indexes of this base hold the same."""
    sources: tuple[Source, ...] = ()


class Retrieve(_Asking, frozen=True, kw_only=True, omit_defaults=True, tag="retrieve"):
    """First stage of a typed turn: route, retrieve, build the prompt."""

    digest: str
    """Of question, kb, context and messages: the same turn id with another digest is a conflict."""
    context: dict[str, Any] | None = None
    messages: tuple[ChatMessage, ...] = ()
    """A conversation the client brings along, used instead of the stored one. Its last message is the question."""
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    early: Early | None = None
    """Found while the question was being spoken. No part of what was asked: the turn is the same without it."""


class Generate(_Asking, frozen=True, kw_only=True, omit_defaults=True, tag="generate"):
    """Generation stage: stream the answer to ``prompt``; passages are in ``marks.retrieval.sources``."""

    prompt: tuple[ChatMessage, ...]
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    prepared: str = ""
    """Not empty: the answer, its figures computed from data. It is told as it stands; a model may phrase it anew where
    the installation allows that, and must keep every figure."""


class Record(Job, frozen=True, kw_only=True, omit_defaults=True, tag="record"):
    """Close the row. ``forced`` (cancel, expiry, parker) skips the fence test and makes the row if there is none."""

    status: TurnStatus
    text: str | None = None
    """None (of a forced one): nobody has said what was delivered."""
    sources: tuple[Source, ...] = ()
    usage: Usage | None = None
    fault: Fault | None = None
    forced: bool = False
    own: bool = False
    """Of a forced one: it ends the turn only for its own submission. While the row is open under another one, that
    one's messages stand for the turn. (A gateway's ends the turn whoever runs it.)
    """
    digest: str = ""
    """Of a turn that may have no row yet: what its row would have had; "" where it is not known."""
    ending: Ending | None = None


AnyJob = Retrieve | Generate | Record


class PutDocument(msgspec.Struct, frozen=True, kw_only=True, tag="put", tag_field="kind"):
    """Insert or replace one document by its path. The same content again is ``unchanged``."""

    call: str
    reply_to: str
    tenant: str
    kb: str
    path: str
    data: bytes
    media_type: str = ""
    """Empty: decided from the path's ending and the bytes."""


class DeleteDocument(msgspec.Struct, frozen=True, kw_only=True, tag="delete", tag_field="kind"):
    """Remove one document; ``path`` empty removes the whole knowledge base."""

    call: str
    reply_to: str
    tenant: str
    kb: str
    path: str


class ListDocuments(msgspec.Struct, frozen=True, kw_only=True, tag="list", tag_field="kind"):
    """List documents of ``kb``; ``kb`` empty lists the knowledge bases."""

    call: str
    reply_to: str
    tenant: str
    kb: str = ""
    after: str = ""
    limit: int = 1000


class Foreseen(msgspec.Struct, frozen=True, omit_defaults=True):
    """The turn that a search is made ahead of: the next one of ``session``. ``messages`` as in :class:`Retrieve`."""

    session: SessionId
    messages: tuple[ChatMessage, ...] = ()


class SearchPassages(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="search", tag_field="kind"):
    """Retrieve passages without a turn; or, with ``foreseen``, as the turn will whose question is ``query``, which is
    answered with :attr:`KnowledgeReply.early`. (A reader that does not know of that answers with passages alone, which
    are of no use then, and do no harm.)
    """

    call: str
    reply_to: str
    tenant: str
    kb: str
    query: str
    limit: int = 5
    foreseen: Foreseen | None = None


class ListDead(msgspec.Struct, frozen=True, kw_only=True, tag="dead.list", tag_field="kind"):
    """List parked messages, newest first."""

    call: str
    reply_to: str
    tenant: str
    limit: int = 100
    id: str = ""
    """Not empty: this one only, with its body."""
    before: str = ""
    """Not empty: only those parked before the one with this id."""


class DropDead(msgspec.Struct, frozen=True, kw_only=True, tag="dead.drop", tag_field="kind"):
    """Remove one parked message for good; the reply's ``removed`` is 0 where there is none of this id."""

    call: str
    reply_to: str
    tenant: str
    id: str


KnowledgeCommand = (
    PutDocument | DeleteDocument | ListDocuments | SearchPassages | ListDead | DropDead | PutReadings | DropReadings
)
"""Commands on the knowledge queue; each is answered by one :class:`parley_protocol.events.Reply`."""


class DocumentInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stored document."""

    path: str
    title: str
    digest: str
    """SHA-256 of the bytes, hexadecimal."""
    size: int
    """Bytes."""
    passages: int
    updated_at: str
    """RFC 3339, UTC."""
    outcome: str = ""
    """Of a put: ``created``, ``replaced`` or ``unchanged``."""


class BaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A knowledge base."""

    name: str
    documents: int
    passages: int


class DeadInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A parked message."""

    id: str
    queue: str
    reason: str
    cause: str
    parked_at: str
    turn: str = ""
    session: str = ""
    tries: int = 0
    body: bytes = b""


class KnowledgeReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Body of the reply to any knowledge command; the fields that belong to the command are filled."""

    documents: tuple[DocumentInfo, ...] = ()
    bases: tuple[BaseInfo, ...] = ()
    sources: tuple[Source, ...] = ()
    dead: tuple[DeadInfo, ...] = ()
    removed: int = 0
    stored: int = 0
    """Readings stored."""
    refused: tuple[RefusedReading, ...] = ()
    """The first of those that were not."""
    refused_count: int = 0
    """All of them."""
    early: Early | None = None
    """None where the turn would not search, or nobody can say at what position it was searched."""
