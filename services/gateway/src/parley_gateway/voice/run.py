"""One worker that has a lease, under one epoch: what it has been sent, and what it has told. Pure."""

from __future__ import annotations

from collections import deque

from parley_gateway.voice.leasing import Boundary, Place
from parley_gateway.voice.stream import Stream
from parley_gateway.voice.told import Told
from parley_protocol.audio import AudioPart, Heard, Mark, Partial, Progress, SpeechStarted, SpeechStopped

WINDOW = 1_048_576
"""Bytes sent to a worker that it has not reported as taken; the rest waits here."""

Word = Progress | SpeechStarted | SpeechStopped | Partial | Heard
"""What a worker says of what it has taken and heard."""


class Missed(Exception):
    """By what a worker says, something that it said before has not arrived."""


class Sending:
    """What one worker has been sent: everything once and in order, no more of it than it keeps up with."""

    def __init__(self, stream: Stream, epoch: int, start: Place) -> None:
        self.epoch = epoch
        self._stream = stream
        self._to = start.at
        self._mark = start.mark
        self.taken = start.at
        """What lies before this the worker has."""
        self._unanswered: deque[tuple[int, float]] = deque()
        """(end of a part, when it was sent) of those that have not been reported as taken."""
        self._sent_at = 0.0
        self._probe = False
        """A part without anything goes next, if there is nothing else."""

    @property
    def place(self) -> Place:
        """What comes next."""
        return Place(self._to, self._mark)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        ring = self._stream.ring
        return self._probe or self._to < ring.end or ring.marked(self._mark) is not None

    @property
    def has_room(self) -> bool:
        """Whether the worker keeps up: more may be sent before it has said what it has taken."""
        return self._to < self.taken + WINDOW

    def take(self, limit: int, now: float) -> list[AudioPart]:
        """The next parts, ``limit`` bytes at most."""
        parts: list[AudioPart] = []
        limit = min(limit, self.taken + WINDOW - self._to)
        while (part := self._part(limit)) is not None:
            limit -= len(part.data)
            self._to += len(part.data)
            self._mark += part.mark is not Mark.NONE
            self._unanswered.append((self._to, now))
            self._probe = False
            self._sent_at = now
            parts.append(part)
        return parts

    def _part(self, limit: int) -> AudioPart | None:
        ring = self._stream.ring
        marked = ring.marked(self._mark)
        end = marked.at if marked is not None else ring.end
        to = min(end, self._to + max(0, limit))
        mark = marked.mark if marked is not None and to == marked.at else Mark.NONE
        if to == self._to and mark is Mark.NONE and not self._probe:
            return None
        return AudioPart(self._stream.name, self.epoch, self._to, ring.read(self._to, to), mark)

    def put_back(self, parts: list[AudioPart]) -> None:
        """These parts, the last ones taken, were not sent after all, and are nowhere."""
        if not parts:
            return
        self._to = parts[0].at
        self._mark -= sum(part.mark is not Mark.NONE for part in parts)
        for _ in range(min(len(parts), len(self._unanswered))):
            self._unanswered.pop()

    def on_taken(self, at: int) -> None:
        """The worker has what lies before ``at``."""
        self.taken = max(self.taken, min(at, self._to))
        while self._unanswered and self._unanswered[0][0] <= at:
            self._unanswered.popleft()

    def silent(self, now: float, limit_s: float) -> bool:
        """Whether something sent more than ``limit_s`` ago has not been reported as taken."""
        return bool(self._unanswered) and now - self._unanswered[0][1] > limit_s

    def probe(self, now: float, after_s: float) -> None:
        """Ask for a sign of life, if the worker owes an answer and has been sent nothing for ``after_s``."""
        owes = self._mark > self._stream.boundary.mark or self._stream.answered
        if owes and now - self._sent_at > after_s:
            self._probe = True

    def forgive(self, now: float) -> None:
        """What has not been answered counts as sent now."""
        self._unanswered = deque((at, now) for at, _ in self._unanswered)


class Run:
    """Its worker's words count while it has the lease. ``sending`` is what goes to it."""

    def __init__(self, stream: Stream, epoch: int, worker: str, boundary: Boundary) -> None:
        self.epoch = epoch
        self.worker = worker
        self.sending = Sending(stream, epoch, boundary.place)
        self._stream = stream
        self._utterance = boundary.utterance
        """The one that it tells next. A worker that replays tells some that are told already."""

    def on_word(self, word: Word) -> list[Told]:
        """What the client is to be told of it. Raises Missed."""
        if isinstance(word, Progress):
            self.sending.on_taken(word.taken)
        if word.utterance > self._utterance:
            raise Missed
        if word.utterance < self._utterance:
            return []
        match word:
            case Progress():
                self._stream.on_silence(word.utterance, word.keep)
                return []
            case Heard():
                self._utterance += 1
                return self._stream.on_heard(word)
            case _:
                return self._stream.on_speech(word)
