"""Tutor sessions behind their sockets: who may begin one, how long it lasts, and who is told when it is over.

The store decides all of it, so limits hold across gateways. A gateway writes use of a session at most every few seconds
(:func:`pause_s`), the last of it with its age, so that the store knows when the session was last in use before its time
can run out.
"""

import asyncio
import hmac
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from hashlib import sha256
from typing import Protocol

from parley_gateway.dialects.settings import TutorSettings
from parley_protocol.control import Audience
from parley_protocol.tutors import SessionsEnded
from parley_runtime.control import ControlPlane
from parley_runtime.errors import NotFound, Overloaded, ParleyError, UnknownBase
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


def pause_s(timeout_s: float) -> float:
    """Shortest time between two writes of a session's use, and between two looks at sessions that may be over."""
    return min(5.0, timeout_s / 8)


class Pupil(Protocol):
    """A socket of a session."""

    session: str

    @property
    def busy(self) -> bool:
        """Whether an answer is in progress."""
        ...

    def over(self, state: SessionState) -> None:
        """The session has ended: say so and close. Never waits and never raises."""
        ...


class _Use:
    """What this gateway knows of the use of one session."""

    __slots__ = ("last", "pupils", "written")

    def __init__(self) -> None:
        self.pupils: set[Pupil] = set()
        self.last = self.written = float("-inf")


class TutorDesk:
    """One for each gateway."""

    def __init__(
        self, store: Store, *, control: ControlPlane, clock: Clock, secret: bytes, settings: TutorSettings
    ) -> None:
        self.tokens = Tokens(secret)
        self._store = store
        self._control = control
        self._clock = clock
        self._settings = settings
        self._pause_s = pause_s(settings.timeout_s)
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)
        self._watch: asyncio.Task[None] | None = None
        control.on(SessionsEnded, self._on_ended)

    # --- sessions ---------------------------------------------------------------------------------------------

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
            self._tell(session, SessionState.DELETED)
        if sessions:
            self._control.post(Audience.GATEWAYS.value, SessionsEnded(tuple(sessions)))

    # --- sockets ----------------------------------------------------------------------------------------------

    def join(self, pupil: Pupil) -> None:
        """Tell ``pupil`` when its session is over."""
        self._uses[pupil.session].pupils.add(pupil)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._look(), name="tutor sessions")

    async def leave(self, pupil: Pupil) -> None:
        """The socket has gone; the last use of its session is written. Idempotent."""
        use = self._uses.get(pupil.session)
        if use is None:
            return
        use.pupils.discard(pupil)
        if not use.pupils:
            del self._uses[pupil.session]
            if use.last > use.written:
                await self._write(pupil.session, use)

    def seen(self, pupil: Pupil) -> None:
        """A frame has come that was not taken: the session is in use all the same."""
        self._uses[pupil.session].last = self._clock.monotonic()

    async def used(self, pupil: Pupil) -> bool:
        """A frame has come. False: the session is over, and the pupil has been told."""
        self.seen(pupil)
        use = self._uses[pupil.session]
        return use.last - use.written < self._pause_s or await self._write(pupil.session, use)

    async def close(self) -> None:
        """Look after nothing more."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})

    async def _write(self, session: str, use: _Use) -> bool:
        """Use of the session goes to the store; a store that is away ends nothing."""
        now = self._clock.monotonic()
        before, use.written = use.written, now
        try:
            alive = await self._store.tutors.touch(session, max(0.0, now - use.last))
        except ParleyError as error:
            use.written = before
            log.warning("use of a session could not be written", session=session[:8], reason=type(error).__name__)
            return True
        if not alive and use.pupils:
            await self._look_at([session])
        return alive

    async def _look(self) -> None:
        """While there are sockets: write the use that is not written yet, and look which sessions are over."""
        try:
            while self._uses:
                await asyncio.sleep(self._pause_s)
                for session, use in list(self._uses.items()):
                    if any(pupil.busy for pupil in use.pupils):
                        use.last = self._clock.monotonic()
                    if use.last > use.written:
                        await self._write(session, use)
                await self._look_at(list(self._uses))
        finally:
            self._watch = None

    async def _look_at(self, sessions: list[str]) -> None:
        try:
            await self._check(sessions)
        except ParleyError as error:
            log.warning("sessions are looked at again later", reason=type(error).__name__)

    async def _check(self, sessions: list[str]) -> None:
        expired = await self._store.tutors.expire()
        if expired:
            counter(names.TUTOR_SESSIONS).labels("expired").inc(expired)
            log.info("idle sessions ended", sessions=expired)
        states = await self._store.tutors.states(sessions)
        for session in sessions:
            state = states.get(session, SessionState.DELETED)
            if state is not SessionState.ACTIVE:
                self._tell(session, state)

    def _tell(self, session: str, state: SessionState) -> None:
        use = self._uses.get(session)
        for pupil in tuple(use.pupils) if use is not None else ():
            pupil.over(state)

    def _on_ended(self, ended: SessionsEnded) -> None:
        for session in ended.sessions:
            self._tell(session, SessionState.DELETED)
