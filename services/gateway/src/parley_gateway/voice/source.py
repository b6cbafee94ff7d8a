"""The turn whose answer is spoken: its text as it grows, and what becomes of it."""

import enum

from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_gateway.core.view import Sink
from parley_gateway.voice.script import Script
from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey

CHUNK = 2_000
"""Code points of the answer taken at a time."""


class Fate(enum.StrEnum):
    """``REFUSED``: it was never taken. ``STOPPED``: its answer has no end that one would want to hear."""

    SPOKEN = "spoken"
    REFUSED = "refused"
    STOPPED = "stopped"


class Source:
    """Read through a view of its own, so that the turn knows that somebody reads it."""

    __slots__ = ("_restarts", "_session", "turn", "view")

    def __init__(self, session: Session, entry: Entry, sink: Sink) -> None:
        """``sink`` is told of the turn's news, from its first event on."""
        self.turn = entry.turn.key.turn
        self.view = session.view(entry, sink)
        self._session = session
        self._restarts = self.view.turn.restarts

    @property
    def key(self) -> TurnKey:
        """The turn's, everywhere."""
        return self._session.key(self.turn)

    @property
    def text(self) -> str:
        """Of the answer, so far."""
        return self.view.turn.text

    @property
    def closed(self) -> bool:
        """Whether the turn has ended, and its row with it."""
        return self.view.turn.closed

    @property
    def fate(self) -> Fate:
        """What has become of the turn."""
        turn, entry = self.view.turn, self._session.entries.get(self.turn)
        if (entry is None or entry.ended) and not turn.closed:  # one that has ended may be kept no longer
            return Fate.REFUSED
        stopped = turn.frozen and not turn.closed
        if stopped or (turn.terminal is not None and turn.closed and turn.terminal.status is not TurnStatus.COMPLETED):
            return Fate.STOPPED
        return Fate.SPOKEN

    def restarted(self) -> bool:
        """Whether the answer has become another one since this was asked last."""
        before, self._restarts = self._restarts, self.view.turn.restarts
        return before != self._restarts

    def read(self, script: Script) -> bool:
        """Feed some more text, or the end. False: there is neither at present."""
        turn = self.view.turn
        if not turn.known or turn.waits:
            return False
        text = turn.text[script.at : script.at + CHUNK]
        if text:
            script.feed(text)
        elif turn.closed:
            self.view.done = True
            script.end()
        return bool(text) or turn.closed

    def leave(self) -> None:
        """Nothing is read any more."""
        self.view.done = True
        entry = self._session.entries.get(self.turn)
        if entry is not None:
            entry.views = [view for view in entry.views if view is not self.view]
