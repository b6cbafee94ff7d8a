"""Audio of one stream from the last boundary on, and what its client said between the bytes."""

from collections import deque

import msgspec

from parley_protocol.audio import Mark


class RingFull(Exception):
    """More would have to be kept than may be."""


class Marked(msgspec.Struct, frozen=True):
    """A mark after the bytes before ``at``."""

    at: int
    mark: Mark


class Ring:
    """Bytes ``start`` to ``end`` of the stream, ``limit`` of them at most, and its marks, numbered from 0, from number
    ``first`` on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.start = 0
        self.first = 0
        self._data = bytearray()  # forgetting its beginning copies nothing
        self._marks: deque[Marked] = deque()

    @property
    def end(self) -> int:
        return self.start + len(self._data)

    @property
    def next(self) -> int:
        """Number of the next mark."""
        return self.first + len(self._marks)

    def append(self, data: bytes) -> None:
        """Raises RingFull, and then keeps what it has."""
        if len(self._data) + len(data) > self.limit:
            raise RingFull
        self._data += data

    def mark(self, mark: Mark) -> None:
        """``mark`` is said here."""
        self._marks.append(Marked(self.end, mark))

    def read(self, at: int, to: int) -> bytes:
        """Bytes ``at`` to ``to``, which must be held."""
        return bytes(self._data[at - self.start : to - self.start])

    def trim(self, at: int, first: int) -> None:
        """Forget the bytes before ``at`` and the marks before number ``first``."""
        if at > self.start:
            at = min(at, self.end)
            del self._data[: at - self.start]
            self.start = at
        while self._marks and self.first < first:
            self._marks.popleft()
            self.first += 1

    def marked(self, number: int) -> Marked | None:
        """The mark of that number, or None where none has been said yet. It must not have been forgotten."""
        index = number - self.first
        return self._marks[index] if 0 <= index < len(self._marks) else None
