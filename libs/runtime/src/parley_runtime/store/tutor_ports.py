"""What tutor sessions ask of the store."""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from parley_protocol.tutors import TutorInfo


class SessionState(enum.StrEnum):
    """``REMOTE``: another installation's engine holds the session; only whose it is is known here."""

    ACTIVE = "active"
    DELETED = "deleted"
    EXPIRED = "expired"
    REMOTE = "remote"


class TutorSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session. ``admin`` is empty where it was not begun through the web side."""

    id: str
    tenant: str
    tutor: int
    student: str
    kb: str | None
    admin: str
    state: SessionState


class Full(msgspec.Struct, frozen=True):
    """As many sessions are active as may be; the first of them may be over after ``retry_after_s``."""

    retry_after_s: float


class TutorStore(Protocol):
    """Tutors and sessions. Isolation: every read and write names its tenant, but for those of sessions by their id
    alone, which gateways ask with ids that they have verified.

    A session is idle when :meth:`touch` was not called for its ``timeout_s``; all times are the store's.
    """

    async def add(self, tenant: str, *, admin: str, name: str) -> TutorInfo: ...

    async def tutor(self, tenant: str, id: int) -> TutorInfo | None: ...

    async def tutors(self, tenant: str, *, after: int = 0, limit: int = 1000) -> list[TutorInfo]:
        """By id, above ``after``."""
        ...

    async def remove(self, tenant: str, id: int) -> list[str] | None:
        """Remove a tutor and end his sessions; returns the ids of those that were active, None where there is none."""
        ...

    async def begin(
        self, tenant: str, session: str, *, tutor: int, student: str, kb: str | None, limit: int, timeout_s: float
    ) -> Full | None:
        """Begin a session unless ``limit`` sessions of all tenants are active; those that are idle end first."""
        ...

    async def grant(self, tenant: str, session: str, *, tutor: int, student: str, admin: str) -> None:
        """The session belongs to ``admin``; one that is not known here is kept as ``remote``."""
        ...

    async def session(self, tenant: str, session: str) -> TutorSession | None:
        """One that is idle is ``expired``, whether that has been noticed or not."""
        ...

    async def find(self, session: str) -> TutorSession | None:
        """:meth:`session`, of whichever tenant: for the bearer of a token that was signed for this session."""
        ...

    async def touch(self, session: str, ago_s: float) -> bool:
        """The session was in use ``ago_s`` ago. False: it is not active any more."""
        ...

    async def end(self, tenant: str, session: str) -> bool:
        """Delete an active or remote session; False where there is none."""
        ...

    async def expire(self) -> int:
        """End idle sessions of all tenants; returns how many."""
        ...

    async def states(self, sessions: Sequence[str]) -> dict[str, SessionState]:
        """Of those that are known."""
        ...

    async def forget_sessions(self, older_than_s: float, *, limit: int) -> int:
        """Remove what ended, or as ``remote`` was granted, more than ``older_than_s`` ago; returns how many."""
        ...
