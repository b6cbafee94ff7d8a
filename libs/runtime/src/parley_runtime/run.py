"""The output of one run as pure state: numbering, coalescing, prefix comparison, snapshots. No event loop.

An item takes its number when it is made; text joins the youngest item until that item is taken, so numbers are the
same for every gateway however late they are sent. A snapshot that changes the text takes a number of its own: whoever
misses it sees a gap and asks.
"""

from collections.abc import Sequence

import msgspec

from parley_protocol.events import Delta, Event, Marks, Retrieval, Snapshot, Source, Status, Transcript
from parley_protocol.readings import MetricData

MAX_DELTA = 8192
"""Code points that are merged into one delta while it waits to be sent."""


class Pending:
    """Items that have been made and not yet taken. ``n`` is the next one's number."""

    __slots__ = ("_delta_at", "_delta_n", "_items", "_open", "n")

    def __init__(self, n: int) -> None:
        self.n = n
        self._items: list[Event] = []
        self._open: list[str] = []
        """Pieces of the youngest item, where that is a delta: text joins it until it is taken."""
        self._delta_n = 0
        self._delta_at = 0

    def take(self) -> tuple[Event, ...]:
        """Items to send, in order of their numbers; each is given once."""
        if self._items:
            self._close_delta()
            items = tuple(self._items)
            self._items.clear()
            return items
        if self._open:
            parts = self._open
            text = parts[0] if len(parts) == 1 else "".join(parts)
            parts.clear()
            return (Delta(self._delta_n, self._delta_at, text),)
        return ()

    def _number(self, item: Event) -> None:
        self._items.append(item)
        self.n += 1

    def _close_delta(self) -> None:
        if self._open:
            self._items.append(Delta(self._delta_n, self._delta_at, "".join(self._open)))
            self._open.clear()


class Output(Pending):
    """What one run says: its text, its marks, and the items that tell of them.

    With ``replaces`` (a fence above 1) earlier items may have reached gateways: the first item is a snapshot, and text
    is held back while it repeats ``prefix``. Once it is as long, or differs, one snapshot with the whole fresh text
    goes out and deltas follow; the gateway delivers what is new, or says ``restarted``.
    """

    __slots__ = ("_at", "_comparing", "_parts", "ending", "marks", "prefix")

    def __init__(self, n: int = 0, marks: Marks | None = None, *, prefix: str = "", replaces: bool = False) -> None:
        super().__init__(n)
        self.marks = marks or Marks()
        self.prefix = prefix
        self.ending = False
        self._comparing = replaces
        self._at = 0
        self._parts: list[str] = []
        if replaces:
            self._items.append(Snapshot(n, self.marks, None))

    @property
    def text(self) -> str:
        """Everything written so far, sent or held back."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0] if self._parts else ""

    @property
    def at(self) -> int:
        """Code points written so far."""
        return self._at

    @property
    def comparing(self) -> bool:
        """Whether text is being held back: nothing of it has been, or will be, sent before it outgrows the prefix."""
        return self._comparing

    def status(self, stage: str) -> None:
        """Mark: entered ``stage``."""
        self._close_delta()
        self.marks = msgspec.structs.replace(self.marks, status=stage)
        self._number(Status(self.n, stage))

    def transcript(self, text: str, final: bool) -> None:
        """Mark: the hypothesis so far."""
        self._close_delta()
        self.marks = msgspec.structs.replace(self.marks, transcript=text)
        self._number(Transcript(self.n, text, final))

    def retrieval(self, intent: str, route: str, sources: Sequence[Source], data: Sequence[MetricData] = ()) -> None:
        """Mark: route, sources and readings."""
        self._close_delta()
        mark = Retrieval(self.n, intent, route, tuple(sources), tuple(data))
        self.marks = msgspec.structs.replace(self.marks, retrieval=mark)
        self._number(mark)

    def delta(self, text: str) -> bool:
        """Append ``text`` (not empty). True where the item should go at once: the first text, or a snapshot."""
        at = self._at
        self._parts.append(text)
        self._at = at + len(text)
        if self._comparing:
            return self._compare(text, at)
        if self._open:
            if self._at - self._delta_at <= MAX_DELTA:
                self._open.append(text)
                return False
            self._close_delta()
        self._delta_n = self.n
        self._delta_at = at
        self.n += 1
        self._open.append(text)
        return at == 0

    def finish(self) -> None:
        """No more text comes. An answer that ended within the prefix is another one: send it as a snapshot."""
        self._close_delta()
        if self._comparing and self._at:
            self._go_live()

    def refence(self) -> None:
        """The run goes on under a higher fence: what has not been sent is replaced by one snapshot."""
        self._items.clear()
        self._open.clear()
        self._items.append(self.snapshot())

    def snapshot(self) -> Snapshot:
        """All items up to now in one. Items not yet taken are in it: take them first, or send it instead of them."""
        text = None if self._comparing or not self._at else self.text
        return Snapshot(self.n, self.marks, text, self.ending)

    def _compare(self, text: str, at: int) -> bool:
        same = self.prefix.startswith(text, at) if self._at <= len(self.prefix) else self.text.startswith(self.prefix)
        if same and self._at < len(self.prefix):
            return False
        self._go_live()
        return True

    def _go_live(self) -> None:
        self._comparing = False
        self.n += 1
        self._items.append(self.snapshot())
