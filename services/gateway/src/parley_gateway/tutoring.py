"""Tutor sessions: who may begin one, and who is told when it is over.

The store decides all of it, so limits hold across gateways.
"""

import hmac
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from parley_gateway.attendance import Attendance
from parley_gateway.dialects.settings import TutorSettings
from parley_protocol.control import Audience
from parley_protocol.tutors import SessionsEnded
from parley_runtime.control import ControlPlane
from parley_runtime.errors import NotFound, Overloaded, UnknownBase
from parley_runtime.ports import Clock
from parley_runtime.store.ports import Store
from parley_runtime.store.tutor_ports import Full, SessionState, TutorSession
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.tutor")

MAX_RETRY_S = 60.0
"""Longest wait that is told where there is no room: a session may be deleted any time."""
_NONCE = 9
_MAC = 24


class Tokens:
    """Tokens of sessions: random bytes and a MAC over them and the session's id (HMAC-SHA-256, 192 bits), in characters
    that need no escape in a URL. Every gateway with the same secret verifies those of every other.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, session: str) -> str:
        """A new token for ``session``."""
        nonce = secrets.token_bytes(_NONCE)
        return urlsafe_b64encode(nonce + self._mac(nonce, session)).decode("ascii")

    def verify(self, token: str, session: str) -> bool:
        """Whether ``token`` was made for ``session`` with this secret."""
        try:
            raw = urlsafe_b64decode(token.encode("ascii"))
        except ValueError:
            return False
        return len(raw) == _NONCE + _MAC and hmac.compare_digest(raw[_NONCE:], self._mac(raw[:_NONCE], session))

    def _mac(self, nonce: bytes, session: str) -> bytes:
        return hmac.new(self._secret, b"tutor\0" + nonce + session.encode(), sha256).digest()[:_MAC]


class TutorDesk:
    """One for each gateway."""

    def __init__(
        self, store: Store, *, control: ControlPlane, clock: Clock, secret: bytes, settings: TutorSettings
    ) -> None:
        self.tokens = Tokens(secret)
        self._store = store
        self._control = control
        self._settings = settings
        self.attendance = Attendance(store, clock, settings.timeout_s)
        control.on(SessionsEnded, self._on_ended)

    async def begin(self, tenant: str, *, tutor: int, student: str, kb: str | None) -> str:
        """The id of a new session.

        Raises:
            UnknownBase: there is no such knowledge base; no session was begun.
            Overloaded: as many sessions are active as may be.
            Unavailable: the store cannot be reached.
        """
        if kb is not None and not await self._store.documents(tenant, kb, limit=1):
            raise UnknownBase(f"Knowledge base not found: {kb}")
        session = str(uuid.uuid4())
        full = await self._store.tutors.begin(
            tenant,
            session,
            tutor=tutor,
            student=student,
            kb=kb,
            limit=self._settings.max_sessions,
            timeout_s=self._settings.timeout_s,
        )
        counter(names.TUTOR_SESSIONS).labels("begun" if full is None else "full").inc()
        if isinstance(full, Full):
            log.warning("session refused", reason="full", setting="MAX_SESSIONS")
            raise Overloaded(
                f"{self._settings.max_sessions} sessions are active, and no more may be; end one or try again later",
                retry_after_s=min(MAX_RETRY_S, full.retry_after_s),
            )
        log.info("session begun", session=session[:8], tutor=tutor)
        return session

    async def session(self, tenant: str, session: str) -> TutorSession:
        """An active session. Raises NotFound."""
        found = await self._store.tutors.session(tenant, session)
        if found is None or found.state is not SessionState.ACTIVE:
            raise NotFound("Session not found")
        return found

    async def end(self, tenant: str, session: str) -> None:
        """Delete a session: its token is worth nothing from here on, and its sockets are closed at every gateway.

        Raises:
            NotFound: it is not active.
        """
        if not await self._store.tutors.end(tenant, session):
            raise NotFound("Session not found")
        self.ended([session])

    def ended(self, sessions: list[str]) -> None:
        """These have been deleted: let every gateway know."""
        counter(names.TUTOR_SESSIONS).labels("deleted").inc(len(sessions))
        for session in sessions:
            log.info("session deleted", session=session[:8])
            self.attendance.tell(session, SessionState.DELETED)
        if sessions:
            self._control.post(Audience.GATEWAYS.value, SessionsEnded(tuple(sessions)))

    def _on_ended(self, ended: SessionsEnded) -> None:
        for session in ended.sessions:
            self.attendance.tell(session, SessionState.DELETED)
