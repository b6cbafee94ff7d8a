"""Which events of workers count: rules 1 to 6 of the turn protocol, for one turn at one gateway.

``fence`` is the highest run known to have begun, ``n`` the item expected next. Runs are compared by fence with ``<``
only. What counts becomes part of what sockets are told, see ``told``.
"""

import enum

from parley_gateway.core.told import Item, Told
from parley_protocol.client import Latency
from parley_protocol.events import Delta, Event, Refusal, Snapshot, Terminal, Transcript
from parley_protocol.ids import TurnKey

HOLD_S = 0.05
"""How long an item that came too early waits for the ones before it."""
TERMINAL_HOLD_S = 0.2
"""How long a terminal waits for the last items of its run."""
MAX_HELD = 512
"""Items held for one turn; beyond it the turn is watched instead."""


class Verdict(enum.StrEnum):
    """What became of an event; also the label of the metric."""

    EXTENDED = "extended"
    """Text was appended."""
    MARKED = "marked"
    REPLACED = "replaced"
    """A snapshot was taken in; text may have grown or restarted, marks may be new."""
    DUPLICATE = "duplicate"
    HELD = "held"
    """Kept for a moment: something before it is missing."""
    GAP = "gap"
    """Dropped, or held for too long: the turn needs a snapshot."""
    SUPERSEDED = "superseded"
    """Of an older run: its sender should stop."""
    CLOSED = "closed"
    """The turn is over: its sender should stop."""
    FROZEN = "frozen"
    """Output is frozen by a cancel or an expiry: its sender should stop once the forced record is confirmed."""
    FINISHED = "finished"


class Turn(Told):
    """One turn's acceptance, and what it has let through."""

    __slots__ = ("closed", "frozen", "held", "hold_until", "key", "latency", "n", "terminal", "waits")

    def __init__(self, key: TurnKey, *, fence: int = 1, known: bool = True) -> None:
        super().__init__(fence, known=known)
        self.key = key
        self.n = 0
        self.frozen = False
        self.closed = False
        self.terminal: Terminal | None = None
        self.latency: Latency | None = None
        self.waits = False
        """An older turn of the session is open: views write nothing yet."""
        self.held: dict[int, Item] | None = None
        self.hold_until = 0.0

    def extend(self, fence: int, item: Delta) -> bool:
        """The hot path: True where the delta is exactly the one expected and was appended."""
        n, text = item.n, self.text
        if (
            n == self.n
            and fence == self.fence
            and item.at == len(text)
            and not self.frozen
            and self.known
            and not self.held
            and self.terminal is None
            and self.said is None
        ):
            self.n = n + 1
            # A string that only a local name refers to grows in place; an attribute's is copied for every delta.
            self.text = ""
            text += item.text
            self.text = text
            return True
        return False

    def take(self, fence: int, event: Event, now: float) -> Verdict:
        """Judge one event of a run with ``fence``. Never raises; the same event again changes nothing."""
        if self.closed:
            return Verdict.CLOSED
        if isinstance(event, Terminal):
            return self._take_terminal(fence, event, now)
        if self.frozen or fence < self.fence:
            return Verdict.FROZEN if self.frozen else Verdict.SUPERSEDED
        if isinstance(event, Snapshot):
            return self._take_snapshot(fence, event)
        return Verdict.DUPLICATE if isinstance(event, Refusal) else self._take_item(fence, event, now)

    def begin(self, fence: int) -> bool:
        """A run with ``fence`` is about to speak. From the return on nothing of a lower fence is delivered.

        False where nothing of the run can be delivered: it is superseded, or the turn frozen or over.
        """
        if self.closed or self.frozen or fence < self.fence:
            return False
        self._raise(fence, 0)
        return True

    def hear(self, text: str, *, final: bool) -> None:
        """Before any run: what has been said so far, or at last. A later hypothesis replaces an earlier one."""
        self.marks = [marked for marked in self.marks if not isinstance(marked.mark, Transcript)]
        self._mark(Transcript(0, text, final))
        if final:
            self.n = 1

    def freeze(self) -> None:
        """Deliver nothing more until the terminal."""
        self.frozen = True
        self.held = None

    def close(self, terminal: Terminal) -> None:
        """The row's word: rule 2 without waiting for missing items. The first call counts."""
        if self.closed:
            return
        self._mark_all(terminal.marks, terminal.n, spoken=True)
        if terminal.text is not None:
            self._replace(terminal.text)
        self.known = True
        self.closed = True
        self.frozen = True
        self.held = None
        self.terminal = terminal

    def hold_expired(self, now: float) -> Verdict:
        """After the time of ``hold_until``: FINISHED (a held terminal was taken), GAP, or HELD (nothing was due)."""
        if self.closed or not self.hold_until or now < self.hold_until:
            return Verdict.HELD
        self.hold_until = 0.0
        if self.terminal is not None:
            self.close(self.terminal)
            return Verdict.FINISHED
        return Verdict.GAP if self.held else Verdict.HELD

    # --- rules ------------------------------------------------------------------------------------------------

    def _take_terminal(self, fence: int, event: Terminal, now: float) -> Verdict:
        missing = fence == self.fence and self.n < event.n and self.known and not self.frozen
        if missing and self.terminal is None:
            self.terminal = event
            self.hold_until = now + TERMINAL_HOLD_S
            return Verdict.HELD
        if missing and now < self.hold_until:
            return Verdict.HELD
        self.close(event)
        return Verdict.FINISHED

    def _take_snapshot(self, fence: int, event: Snapshot) -> Verdict:
        if fence == self.fence and event.n < self.n and self.known:
            return Verdict.DUPLICATE
        self._raise(fence, event.n)
        self._mark_all(event.marks, event.n, spoken=bool(event.text))
        if event.text is not None:
            self._say(event.text)
            self.known = True
        elif fence == 1:
            self.known = True  # nobody has spoken yet: the text is empty, not unknown
        self.n = event.n
        return self._drain(Verdict.REPLACED)

    def _take_item(self, fence: int, item: Item, now: float) -> Verdict:
        if fence > self.fence:
            return Verdict.GAP
        if item.n < self.n:
            return Verdict.DUPLICATE
        if item.n > self.n or not self.known:
            return self._hold(item, now)
        if not self._fits(item):
            return Verdict.GAP
        return self._drain(self._deliver(item))

    def _deliver(self, item: Item) -> Verdict:
        self.n = item.n + 1
        if isinstance(item, Delta):
            self._say(self.text[: item.at] + item.text)
            return Verdict.EXTENDED
        self._mark(item)
        return Verdict.MARKED

    def _hold(self, item: Item, now: float) -> Verdict:
        if self.held is None:
            self.held = {}
        if item.n in self.held:
            return Verdict.DUPLICATE
        if len(self.held) >= MAX_HELD:
            return Verdict.GAP
        if not self.held and self.known and self.terminal is None:
            self.hold_until = now + HOLD_S
        self.held[item.n] = item
        return Verdict.HELD

    def _drain(self, verdict: Verdict) -> Verdict:
        """Deliver held items that are no longer early; close where a held terminal now has all it waited for."""
        held = self.held
        while held and self.known:
            first = min(held)
            if first > self.n:
                break
            item = held.pop(first)
            if first == self.n and self._fits(item):
                self._deliver(item)
        if not held:
            self.held = None
            if self.terminal is None:
                self.hold_until = 0.0
        if self.terminal is not None and self.n >= self.terminal.n:
            self.close(self.terminal)
            return Verdict.FINISHED
        return verdict

    def _raise(self, fence: int, n: int) -> None:
        """A higher run: what was held belongs to an older one."""
        if fence > self.fence:
            self.fence = fence
            self.n = n
            self.said = None
            self.held = None
            if self.terminal is None:
                self.hold_until = 0.0
