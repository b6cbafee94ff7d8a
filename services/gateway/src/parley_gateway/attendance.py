"""The sockets of tutor sessions at this gateway: the use of their sessions, and who is told when one is over.

A gateway writes use of a session at most every few seconds (:func:`pause_s`), the last of it with its age, so that the
store knows when the session was last in use before its time can run out.
"""

import asyncio
from collections import defaultdict
from typing import Protocol

from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock
from parley_runtime.store.ports import Store
from parley_runtime.store.tutor_ports import SessionState
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.tutor")


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


class Attendance:
    """Looks after sessions for as long as they have sockets here."""

    def __init__(self, store: Store, clock: Clock, timeout_s: float) -> None:
        """``timeout_s``: of a session that is not in use."""
        self._store = store
        self._clock = clock
        self._pause_s = pause_s(timeout_s)
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)
        self._watch: asyncio.Task[None] | None = None

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
                self.tell(session, state)

    def tell(self, session: str, state: SessionState) -> None:
        """This session has ended."""
        use = self._uses.get(session)
        for pupil in tuple(use.pupils) if use is not None else ():
            pupil.over(state)
