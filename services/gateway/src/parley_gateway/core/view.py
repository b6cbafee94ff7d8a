"""What one socket has seen of one turn: a sequence counter and cursors into the turn's one text and its marks.

A socket that falls behind gets everything missed in one delta when it can be written to again, so memory per socket
does not grow with the answer.
"""

from typing import Protocol

import msgspec

from parley_gateway.core.told import Mark, Marked
from parley_gateway.core.turn import Turn
from parley_protocol.client import (
    AnswerDelta,
    Done,
    Latency,
    Restarted,
    RetrievalFrame,
    ServerFrame,
    StatusFrame,
    TranscriptFinal,
    TranscriptPartial,
    TurnFrame,
)
from parley_protocol.events import Retrieval, Status
from parley_protocol.position import Position, TextCheck, encode_position, text_check

MAX_DELTA = 131_072
"""Code points of one delta frame: at most 786 KiB as JSON, under the 1 MiB that client libraries accept."""

_NO_LATENCY = Latency(accepted_ms=0.0, first_token_ms=0.0, total_ms=0.0)


class Sink(Protocol):
    """Whoever follows turns: a socket, or an HTTP request."""

    def push(self, frame: ServerFrame) -> object:
        """A frame without ``seq``."""
        ...

    def touch(self, view: "View") -> None:
        """The view has something to write. Called for every event: must be quick, and only take note."""
        ...


class View:
    """Frames of ``turn`` for one ``sink``. ``seq`` is the next number; at ``done`` nothing follows."""

    __slots__ = ("at", "check", "checked", "done", "floor", "queued", "restarts", "rev", "seq", "sink", "turn")

    def __init__(self, turn: Turn, sink: Sink) -> None:
        self.turn = turn
        self.sink = sink
        self.seq = 0
        self.at = 0
        self.rev = 0
        self.restarts = turn.restarts
        self.check = TextCheck()
        self.checked: int | None = None
        """A resumed client's hash of text[:at], until it has been compared with the text."""
        self.floor = (0, 0)
        """(fence, n) of the first mark that a resumed client has not seen."""
        self.done = False
        self.queued = False
        """Whether the sink has this view on its list of things to write."""

    def resume(self, position: Position) -> None:
        """Go on after ``position``. Its text is compared once the turn's is known."""
        self.seq = position.seq + 1
        self.at = position.at
        self.checked = position.check
        self.done = position.done
        self.floor = (position.fence, position.n)

    def doubt(self) -> None:
        """The turn's text is about to be told anew: what was written of it is compared with that first."""
        if self.at and self.checked is None:
            self.checked = self.check.value()
            self.check = TextCheck()

    def next_frame(self) -> TurnFrame | None:
        """The next frame to write, or None where the client has seen everything there is at present."""
        turn = self.turn
        if self.done or not turn.known or turn.waits:
            return None
        if self.restarts != turn.restarts or (self.checked is not None and self._diverged()):
            return self._restarted()
        marked = self._next_mark() if self.rev != turn.rev else None
        if marked is not None and (self.at >= marked.at or marked.restarts != self.restarts):
            self.rev = marked.rev
            return self._mark(marked.mark)
        end = marked.at if marked is not None else len(turn.text)
        if self.at < end:
            return self._delta(end)
        return self._finish() if turn.closed else None

    def _next_mark(self) -> Marked | None:
        for marked in self.turn.marks:
            if marked.rev > self.rev and (marked.fence, marked.mark.n) >= self.floor:
                return marked
        self.rev = self.turn.rev
        return None

    def _diverged(self) -> bool:
        """Compare a resumed client's beginning with the text, once."""
        checked, self.checked = self.checked, None
        head = self.turn.text[: self.at]
        if len(head) < self.at or text_check(head) != checked:
            return True
        self.check.feed(head)
        return False

    def _restarted(self) -> TurnFrame:
        turn = self.turn
        self.restarts = turn.restarts
        self.at = 0
        self.check = TextCheck()
        seq, position = self._next()
        return Restarted(turn=turn.key.turn, seq=seq, position=position, attempt=turn.fence)

    def _delta(self, end: int) -> TurnFrame:
        turn = self.turn
        end = min(end, self.at + MAX_DELTA)
        text = turn.text if self.at == 0 and end == len(turn.text) else turn.text[self.at : end]
        self.at = end
        self.check.feed(text)
        seq, position = self._next()
        return AnswerDelta(turn=turn.key.turn, seq=seq, position=position, text=text)

    def _mark(self, mark: Mark) -> TurnFrame:
        turn = self.turn.key.turn
        seq, position = self._next()
        if isinstance(mark, Status):
            return StatusFrame(turn=turn, seq=seq, position=position, stage=mark.stage)
        if isinstance(mark, Retrieval):
            return RetrievalFrame(
                turn=turn,
                seq=seq,
                position=position,
                intent=mark.intent,
                route=mark.route,
                sources=mark.sources,
                data=mark.data,
            )
        kind = TranscriptFinal if mark.final else TranscriptPartial
        return kind(turn=turn, seq=seq, position=position, text=mark.text)

    def _finish(self) -> TurnFrame:
        turn = self.turn
        terminal = turn.terminal
        assert terminal is not None
        self.done = True
        seq, position = self._next()
        return Done(
            turn=turn.key.turn,
            seq=seq,
            position=position,
            status=terminal.status,
            text=turn.text,
            usage=terminal.usage,
            sources=terminal.sources,
            latency=msgspec.structs.replace(turn.latency or _NO_LATENCY, stages=terminal.hops),
            fault=terminal.fault,
            ending=terminal.ending,
        )

    def _next(self) -> tuple[int, str]:
        """Number and position of the frame being made."""
        turn, seq = self.turn, self.seq
        self.seq = seq + 1
        fence, n = turn.fence, turn.n
        if self.rev != turn.rev and (marked := self._next_mark()) is not None:
            fence, n = marked.fence, marked.mark.n
        return seq, encode_position(Position(turn.key.turn, seq, fence, n, self.at, self.check.value(), self.done))
