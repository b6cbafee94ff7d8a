"""Which events of workers count: rules 1 to 6 of the turn protocol, for one turn at one gateway.

``fence`` is the highest run known to have begun, ``n`` the item expected next, ``text`` the answer. Runs are compared
by fence with ``<`` only. The text grows, or is replaced as a whole with ``restarts`` counted up; views write it to
sockets by a cursor, so nothing is queued per socket. A later run that has said a beginning of the text takes none of it
back: the rest stands until that run says something else, or its terminal does.
"""

import enum

import msgspec

from parley_protocol.client import Latency
from parley_protocol.events import Delta, Event, Marks, Refusal, Retrieval, Snapshot, Status, Terminal, Transcript
from parley_protocol.ids import TurnKey

HOLD_S = 0.05
"""How long an item that came too early waits for the ones before it."""
TERMINAL_HOLD_S = 0.2
"""How long a terminal waits for the last items of its run."""
MAX_HELD = 512
"""Items held for one turn; beyond it the turn is watched instead."""
MAX_MARKS = 64
"""Marks kept for views that are behind; beyond it the superseded ones of a kind are forgotten."""

Mark = Status | Transcript | Retrieval
Item = Mark | Delta


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


class Marked(msgspec.Struct, frozen=True):
    """A mark as delivered: after ``at`` code points of the text with ``restarts`` restarts."""

    rev: int
    restarts: int
    at: int
    fence: int
    mark: Mark


class Turn:
    """One turn's acceptance. ``known`` is False while a gateway follows a turn whose text it has not been told."""

    __slots__ = (
        "closed",
        "fence",
        "frozen",
        "held",
        "hold_until",
        "key",
        "known",
        "last",
        "latency",
        "marks",
        "n",
        "restarts",
        "rev",
        "said",
        "terminal",
        "text",
        "waits",
    )

    def __init__(self, key: TurnKey, *, fence: int = 1, known: bool = True) -> None:
        self.key = key
        self.fence = fence
        self.n = 0
        self.text = ""
        self.said: int | None = None
        """While a later run repeats the text: how many code points of it that run has said. None: all of it."""
        self.known = known
        self.restarts = 0
        self.rev = 0
        self.marks: list[Marked] = []
        self.last = Marks()
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
        if (
            item.n == self.n
            and fence == self.fence
            and item.at == len(self.text)
            and not self.frozen
            and self.known
            and not self.held
            and self.terminal is None
            and self.said is None
        ):
            self.n += 1
            # A string that only a local name refers to grows in place; an attribute's is copied for every delta.
            text, self.text = self.text, ""
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

    def _fits(self, item: Item) -> bool:
        return not isinstance(item, Delta) or item.at == (len(self.text) if self.said is None else self.said)

    def _say(self, text: str) -> None:
        """A run has said ``text`` so far. One that was not told in time what had been delivered says it once more:
        nothing of that is taken back while it repeats it.
        """
        repeats = self.known and len(text) < len(self.text) and self.text.startswith(text)
        self.said = len(text) if repeats else None
        if not repeats:
            self._replace(text)

    def _replace(self, text: str) -> None:
        """Continue where ``text`` begins with what is known, else start anew. Views check an unknown beginning."""
        if self.known and not text.startswith(self.text):
            self.restarts += 1
        self.text = text

    def _mark_all(self, marks: Marks, end: int, *, spoken: bool) -> None:
        """Deliver those that differ from the last of their kind, in their order. ``end`` is the number after the last
        item. Once there is text, the last status came right after the retrieval, which carries its own number: a client
        that has read on from there has seen it. A retrieval that is the last item came after the last status.
        """
        last, found = self.last, marks.retrieval
        n = found.n + 1 if spoken and found is not None else max(0, end - 1)
        if marks.transcript and marks.transcript != last.transcript:
            self._mark(Transcript(n, marks.transcript, final=True))
        if found is not None and found.n == end - 1:
            self._mark_status(max(0, found.n - 1), marks.status)
        if found is not None and not _same(found, last.retrieval):
            self._mark(found)
        self._mark_status(n, marks.status)

    def _mark_status(self, n: int, stage: str) -> None:
        if stage and stage != self.last.status:
            self._mark(Status(n, stage))

    def _mark(self, mark: Mark) -> None:
        match mark:
            case Status():
                self.last = msgspec.structs.replace(self.last, status=mark.stage)
            case Transcript():
                self.last = msgspec.structs.replace(self.last, transcript=mark.text)
            case Retrieval():
                self.last = msgspec.structs.replace(self.last, retrieval=mark)
        self.rev += 1
        self.marks.append(Marked(self.rev, self.restarts, len(self.text), self.fence, mark))
        if len(self.marks) > MAX_MARKS:
            self.marks = _latest(self.marks)


def _same(one: Retrieval, other: Retrieval | None) -> bool:
    """Whether two marks say the same, whatever their numbers."""
    return other is not None and msgspec.structs.replace(one, n=other.n) == other


def _latest(marks: list[Marked]) -> list[Marked]:
    """The last of each kind, in order."""
    kinds = {type(marked.mark): marked for marked in marks}
    return sorted(kinds.values(), key=lambda marked: marked.rev)
