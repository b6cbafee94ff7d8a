"""Sessions and turns held by this gateway, within bounds. What is let go is still in the store: a client that comes
back later is answered from there.
"""

import sys
from collections import deque
from collections.abc import Callable

from parley_gateway.config import TurnSettings
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.identity import Identity
from parley_protocol.ids import SessionId, TurnKey
from parley_runtime.errors import Overloaded
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge

log = get_logger(__name__)

MAX_ENDED = 64
"""Ended turns kept for one session."""
UTF8 = 4
"""The most bytes of a code point."""


class Registry:
    """``turns`` routes events; an ended turn stays in it until it is let go, so that late workers are told to stop."""

    def __init__(self, settings: TurnSettings, retry_after_s: Callable[[], float] | None = None) -> None:
        self._settings = settings
        self._retry_after_s = retry_after_s or (lambda: settings.retry_after_s)
        self._ended: deque[tuple[float, Entry, int]] = deque()
        self._bytes = 0
        self.sessions: dict[SessionId, Session] = {}
        self.turns: dict[TurnKey, Entry] = {}
        self._gauge = gauge(names.SESSIONS)
        self._gauge.set_function(lambda: len(self.sessions))

    def session(self, id: SessionId, identity: Identity) -> Session:
        """The session, made where it is not held. The id has been verified.

        Raises:
            Overloaded: too many sessions are held, and none of them can be let go.
        """
        session = self.sessions.get(id)
        if session is not None:
            return session
        if len(self.sessions) >= self._settings.max_sessions and not self._make_room():
            counter(names.REFUSED).labels("sessions").inc()
            log.warning("session refused", reason="full", setting="PARLEY_MAX_SESSIONS", sessions=len(self.sessions))
            raise Overloaded(
                "this gateway holds as many sessions as it may; try again soon",
                retry_after_s=self._retry_after_s(),
            )
        session = Session(
            id,
            identity.tenant,
            identity.user,
            max_open=self._settings.queued,
            abandon_s=self._settings.abandon_s,
        )
        self.sessions[id] = session
        return session

    def opened(self, entry: Entry) -> None:
        """Route the turn's events to it."""
        self.turns[entry.turn.key] = entry

    def ended(self, entry: Entry, now: float, *, taken: bool) -> None:
        """The turn is over: keep it for the resume window, within the bounds of bytes and of its session."""
        if not taken:
            self.turns.pop(entry.turn.key, None)
            self.release(entry.session)
            return
        if entry.request is not None:
            entry.request = entry.request.slim()
        size = _bytes(entry.turn.text) + _source_bytes(entry) + 1000
        self._ended.append((now, entry, size))
        self._bytes += size
        session: Session = entry.session
        if len(session.entries) > MAX_ENDED:
            for other in list(session.entries.values()):
                if other.ended and other is not entry and all(view.done for view in other.views):
                    self._forget(other)
                    break
        self.sweep(now)

    def sweep(self, now: float) -> None:
        """Let go of ended turns, oldest first, whose window has passed or that take too many bytes."""
        while self._ended:
            at, entry, size = self._ended[0]
            if now - at < self._settings.resume_s and self._bytes <= self._settings.resume_bytes:
                return
            self._ended.popleft()
            self._bytes -= size
            self._forget(entry)

    def release(self, session: Session) -> None:
        """Let go of a session without sockets and turns. Its id stays valid."""
        if not session.sinks and not session.entries and not session.guests:
            self.sessions.pop(session.id, None)

    def open_turns(self) -> list[Entry]:
        """Turns that are not over."""
        return [entry for session in self.sessions.values() for entry in session.open]

    def _forget(self, entry: Entry) -> None:
        session: Session = entry.session
        if self.turns.get(entry.turn.key) is entry:
            del self.turns[entry.turn.key]  # and not a turn that was begun again under this id
        if session.entries.get(entry.turn.key.turn) is entry:
            session.forget(entry)
        self.release(session)

    def _make_room(self) -> bool:
        before = len(self.sessions)
        while self._ended and len(self.sessions) >= before:
            _, entry, size = self._ended.popleft()
            self._bytes -= size
            self._forget(entry)
        return len(self.sessions) < before


def _source_bytes(entry: Entry) -> int:
    terminal = entry.turn.terminal
    return sum(_bytes(source.text) for source in terminal.sources) if terminal is not None else 0


def _bytes(text: str) -> int:
    """What a text takes at most: beyond ASCII its UTF-8 is kept beside it, once it has been written to a socket."""
    return len(text) if text.isascii() else sys.getsizeof(text) + UTF8 * len(text)
