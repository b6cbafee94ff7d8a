"""What Parley asks of its store. One implementation on SQLAlchemy Core serves SQLite and PostgreSQL; one test suite
runs on both.

**The store decides who may write.** A turn has one row. It is opened by the first claim, its fence only grows, and it
is closed once, for ever; every event is only news of it.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from parley_protocol.events import Ending, Fault, Hop, Marks, Source, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.work import BaseInfo, DeadInfo, DocumentInfo, Record
from parley_runtime.store.contact_ports import ContactStore
from parley_runtime.store.reading_ports import ReadingStore
from parley_runtime.store.review_ports import ReviewStore
from parley_runtime.store.threads import ThreadStore
from parley_runtime.store.tutor_ports import TutorStore


class TurnRow(msgspec.Struct, frozen=True, kw_only=True):
    """A turn as stored. ``text`` is None until the row is closed."""

    key: TurnKey
    submission: str
    digest: str
    """Empty where a forced record made the row: the text that the turn stands for is not known."""
    base: int
    fence: int
    status: TurnStatus
    n: int = 0
    question: str = ""
    text: str | None = None
    sources: tuple[Source, ...] = ()
    usage: Usage | None = None
    hops: tuple[Hop, ...] = ()
    fault: Fault | None = None
    marks: Marks = msgspec.field(default_factory=Marks)
    ending: Ending | None = None
    heard: int | None = None
    """Code points of ``text`` that were heard, where it was spoken and interrupted; None: all of it."""
    opened_at: float = 0.0
    """Seconds since 1970 by the store's clock, which is nobody else's."""
    closed_ago_s: float = 0.0
    """How long ago it was closed when it was read, by the store's clock; 0 while open."""

    @property
    def closed(self) -> bool:
        return self.status is not TurnStatus.OPEN


class Claimed(msgspec.Struct, frozen=True):
    """The run may go on with this base and fence."""

    base: int
    fence: int


class AlreadyClosed(msgspec.Struct, frozen=True):
    """The row is closed: emit from it and ack."""

    row: TurnRow


class OtherSubmission(msgspec.Struct, frozen=True):
    """The turn is open under another submission: ack. ``conflict``: with another digest; say so."""

    conflict: bool


class NotMine(msgspec.Struct, frozen=True):
    """No row, or the row descends from another base: ack."""


class Crossed(msgspec.Struct, frozen=True):
    """The row is open and the caller's, but has another fence than the caller said: somebody claimed it meanwhile."""


class Stored(msgspec.Struct, frozen=True):
    """The row was closed by this call."""

    row: TurnRow


class Superseded(msgspec.Struct, frozen=True):
    """The row is open with another fence or for another submission, or there is none: ack, emit nothing."""


FirstClaim = Claimed | AlreadyClosed | OtherSubmission | Crossed
LaterClaim = Claimed | AlreadyClosed | NotMine | Crossed
Closing = Stored | AlreadyClosed | Superseded


class Exchange(msgspec.Struct, frozen=True):
    """One answered turn of a conversation."""

    turn: str
    question: str
    answer: str


class TurnStore(Protocol):
    """Conversations. Every method raises Unavailable when the store cannot be reached or its disk is full."""

    async def claim_first(
        self, key: TurnKey, *, submission: str, digest: str, question: str, fence: int | None = None
    ) -> FirstClaim:
        """One statement: insert with base = fence = 1; if open with the same submission, base = fence = fence + 1.
        With ``fence`` (0: there is no row) only while the row still has it.

        A closed row with another digest is AlreadyClosed all the same; the caller compares ``row.digest``.
        """
        ...

    async def claim_later(self, key: TurnKey, *, base: int, fence: int | None = None) -> LaterClaim:
        """fence + 1 where the row is open and its base is ``base``; with ``fence`` only while the row still has it."""
        ...

    async def close(self, record: Record) -> Closing:
        """Close where open and the fence is the record's. A forced record skips the fence test (one for its ``own``
        submission tests that instead) and inserts a closed row if there is none; its ``text`` None keeps the row's.
        """
        ...

    async def rows(self, keys: Sequence[TurnKey]) -> list[TurnRow]:
        """The rows that exist, in no order."""
        ...

    async def after(self, tenant: str, session: str, turn: str, *, limit: int) -> list[TurnRow]:
        """Rows of the session opened after ``turn``'s, oldest first; empty where ``turn`` is unknown."""
        ...

    async def conversation(self, tenant: str, session: str, *, limit: int) -> list[Exchange]:
        """The last ``limit`` answered turns (completed, or cancelled with text), oldest first. Of an answer that was
        interrupted as it was spoken, only what was heard.
        """
        ...

    async def keep_heard(self, key: TurnKey, characters: int) -> bool:
        """Of the turn's answer, spoken aloud, so many code points were heard before it was interrupted. The row may be
        open or closed, and its text stays. False: there is no row (yet).
        """
        ...

    async def overdue(self, older_than_s: float, *, limit: int) -> list[TurnRow]:
        """Open rows opened more than ``older_than_s`` ago, by the store's clock, as all ages here."""
        ...

    async def park(self, dead: DeadInfo) -> None:
        """Keep a dead letter. The same id again changes nothing."""
        ...

    async def dead(self, *, limit: int = 100, id: str = "", before: str = "") -> list[DeadInfo]:
        """Dead letters, newest first, from the one parked before ``before`` on (none where there is no such one);
        bodies only when ``id`` names one.
        """
        ...

    async def drop_dead(self, id: str) -> int:
        """Remove a dead letter for good; returns how many there were: 1 or 0."""
        ...

    async def forget_turns(self, older_than_s: float, *, limit: int) -> int:
        """Remove rows closed more than ``older_than_s`` ago among the ``limit`` oldest ones; returns how many. Open
        rows stay. A submission of a removed turn is a new turn.
        """
        ...

    async def forget_dead(self, older_than_s: float, *, limit: int) -> int:
        """Remove dead letters parked more than ``older_than_s`` ago among the ``limit`` oldest; returns how many. One
        that was parked without a time, by a process of an older schema, counts from the first call that finds it.
        """
        ...


class StoredPassage(msgspec.Struct, frozen=True, kw_only=True):
    """A passage of a document; offsets are code points in the document's extracted text."""

    id: str
    title: str
    """Headings above the passage, joined with " › "."""
    text: str
    start: int
    end: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the change log: document ``document`` was put (with its passages) or removed (none)."""

    seq: int
    tenant: str
    kb: str
    document: str
    title: str = ""
    passages: tuple[StoredPassage, ...] = ()


class KnowledgeStore(Protocol):
    """Knowledge bases. Isolation: every read and write names its tenant and base."""

    async def put_document(
        self, tenant: str, kb: str, info: DocumentInfo, passages: Sequence[StoredPassage]
    ) -> DocumentInfo:
        """Insert or replace by path in one transaction; ``outcome`` says which. The same digest is ``unchanged``."""
        ...

    async def delete_document(self, tenant: str, kb: str, path: str) -> int:
        """Remove one document, or all where ``path`` is empty; returns how many."""
        ...

    async def document(self, tenant: str, kb: str, path: str) -> DocumentInfo | None: ...

    async def documents(self, tenant: str, kb: str, *, after: str = "", limit: int = 1000) -> list[DocumentInfo]:
        """By path, after ``after``."""
        ...

    async def passages(self, tenant: str, kb: str, path: str) -> tuple[StoredPassage, ...]:
        """Of one document, in reading order; none where there is no such document."""
        ...

    async def bases(self, tenant: str) -> list[BaseInfo]: ...

    async def changes(self, after: int, *, limit: int) -> list[Change]:
        """Changes with seq > ``after``, in order, at most ``limit``. A document changed again appears once, at its
        latest seq. Reading from 0 gives everything that is stored.
        """
        ...

    async def forget_removed(self, older_than_s: float, *, limit: int) -> int:
        """Take documents removed more than ``older_than_s`` ago out of the change log, ``limit`` at most; returns how
        many. :meth:`forgotten` has grown by then.
        """
        ...

    async def forgotten(self) -> int:
        """A reader of the log that has not come as far as this number may have missed a removal: it must begin anew
        with nothing.
        """
        ...


class Store(TurnStore, KnowledgeStore, Protocol):
    """All of it, on one pool."""

    @property
    def reviews(self) -> ReviewStore: ...

    @property
    def contact(self) -> ContactStore: ...

    @property
    def readings(self) -> ReadingStore: ...

    @property
    def tutors(self) -> TutorStore: ...

    @property
    def threads(self) -> ThreadStore: ...

    async def ping(self) -> None:
        """Raises Unavailable unless a statement ran."""
        ...

    async def aclose(self) -> None: ...
