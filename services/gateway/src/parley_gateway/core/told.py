"""What a turn's sockets are told: its text and its marks. Views write both by cursors, so nothing is queued per socket.

The text grows, or is replaced as a whole with ``restarts`` counted up. A later run that has said a beginning of the
text takes none of it back: the rest stands until that run says something else, or its terminal does.
"""

import msgspec

from parley_protocol.events import Delta, Marks, Retrieval, Status, Transcript

MAX_MARKS = 64
"""Marks kept for views that are behind; beyond it the superseded ones of a kind are forgotten."""

Mark = Status | Transcript | Retrieval
Item = Mark | Delta


class Marked(msgspec.Struct, frozen=True):
    """A mark as delivered: after ``at`` code points of the text with ``restarts`` restarts."""

    rev: int
    restarts: int
    at: int
    fence: int
    mark: Mark


class Told:
    """Text and marks of one turn so far. ``known`` is False while a gateway follows a turn whose text it has not been
    told; ``fence`` is the highest run known to have begun.
    """

    __slots__ = ("fence", "known", "last", "marks", "restarts", "rev", "said", "text")

    def __init__(self, fence: int, *, known: bool) -> None:
        self.fence = fence
        self.text = ""
        self.said: int | None = None
        """While a later run repeats the text: how many code points of it that run has said. None: all of it."""
        self.known = known
        self.restarts = 0
        self.rev = 0
        self.marks: list[Marked] = []
        self.last = Marks()

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
            self._mark(Transcript(0, marks.transcript, final=True))  # the first item of a spoken turn, whoever tells it
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
