"""One turn as its caller sees it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from parley_client.errors import ClientError
from parley_protocol.client import AnswerDelta, Done, Restarted, RetrievalFrame, TurnFrame
from parley_protocol.events import Source

_JOIN_ABOVE = 64


def append(events: deque[Any], event: object) -> None:
    """One more that waits to be read. Where many do, neighbouring deltas of a turn become one."""
    last = events[-1] if len(events) >= _JOIN_ABOVE else None
    if isinstance(event, AnswerDelta) and isinstance(last, AnswerDelta) and last.turn == event.turn:
        events[-1] = msgspec.structs.replace(event, text=last.text + event.text)
    else:
        events.append(event)


class Turn:
    """Events in order, each once, across any number of reconnects; exactly one :class:`Done` ends them.

    A caller that reads slowly gets neighbouring deltas joined, so the events kept for it stay few. ``text`` is always
    the answer so far.
    """

    def __init__(self, turn: str, cancel: Callable[[str], Awaitable[None]]) -> None:
        self.id = turn
        self.text = ""
        self.sources: tuple[Source, ...] = ()
        self.accepted = asyncio.Event()
        """The server has spoken of it."""
        self.taken = asyncio.Event()
        """It has been accepted, or has failed; a spoken turn tells its transcripts before that."""
        self.next_seq = 0
        self._cancel = cancel
        self._events: deque[TurnFrame] = deque()
        self._changed = asyncio.Event()
        self._done: Done | None = None
        self._failure: ClientError | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._rebased = False

    @property
    def finished(self) -> bool:
        """Whether the turn has ended, well or not."""
        return self._done is not None or self._failure is not None

    @property
    def failure(self) -> ClientError | None:
        """Why it ended without a :class:`Done`."""
        return self._failure

    def feed(self, frame: TurnFrame) -> None:
        """Take the next frame from the connection."""
        self.accepted.set()
        self.next_seq = frame.seq + 1
        match frame:
            case AnswerDelta():
                self.text += frame.text
            case Restarted():
                self.text = ""
            case RetrievalFrame():
                self.sources = frame.sources
            case Done():
                self._done, self.text = frame, frame.text
                self.taken.set()
                self.limit(None)
            case _:
                pass
        append(self._events, frame)
        self._changed.set()

    def take(self) -> list[TurnFrame]:
        """The events that nobody has read yet, for another reader."""
        events = list(self._events)
        self._events.clear()
        return events

    def rebase(self) -> None:
        """The server could not resume everything: take the next frame whatever its number."""
        self._rebased = True

    def expects(self, frame: TurnFrame) -> bool | None:
        """True for the next frame, False for one that was read before, None where frames are missing before it.

        After :meth:`rebase` any frame is the next one. Where it does not follow the last one read, the answer is told
        from its start, and the reader gets a :class:`Restarted` first.
        """
        if self._rebased:
            self._rebased = False
            if frame.seq != self.next_seq and self.next_seq > 0:
                self.text = ""
                again = Restarted(turn=self.id, seq=self.next_seq, position=frame.position, attempt=0)
                append(self._events, again)
            return True
        return True if frame.seq == self.next_seq else None if frame.seq > self.next_seq else False

    def limit(self, timer: asyncio.TimerHandle | None) -> None:
        """The timer that gives the turn up: it replaces the one before and is cancelled when the turn ends."""
        if self._limit is not None:
            self._limit.cancel()
        self._limit = timer

    def fail(self, error: ClientError) -> None:
        """End the turn for its caller without a terminal event."""
        if not self.finished:
            self._failure = error
            self.limit(None)
            self.accepted.set()
            self.taken.set()
            self._changed.set()

    def check(self) -> None:
        """Raise what ``fail`` was given, if it was called."""
        if self._failure is not None:
            raise self._failure

    async def __aiter__(self) -> AsyncIterator[TurnFrame]:
        """Events until and including :class:`Done`. Raises what ``fail`` was given."""
        while True:
            while self._events:
                frame = self._events.popleft()
                yield frame
                if isinstance(frame, Done):
                    return
            self.check()
            if self._done is not None:
                return
            self._changed.clear()
            await self._changed.wait()

    async def done(self) -> Done:
        """The terminal event; reads and drops the events before it."""
        async for frame in self:
            if isinstance(frame, Done):
                return frame
        if self._done is None:
            raise ClientError("the turn ended without a terminal event; this is a defect of the client")
        return self._done

    async def cancel(self) -> None:
        """Ask for the end; exactly the text delivered so far is kept, and a :class:`Done` follows. Without a connection
        at present the server is asked as soon as there is one.
        """
        await self._cancel(self.id)
