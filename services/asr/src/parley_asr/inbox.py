"""Audio of one stream that waits to be heard."""

from collections import deque
from dataclasses import dataclass

from parley_protocol.audio import Mark
from parley_runtime.errors import Overloaded


@dataclass(slots=True)
class _Part:
    """Audio as it came, and when."""

    at: float
    data: bytes
    mark: Mark


class Inbox:
    """Holds ``most`` bytes; they are taken in pieces of ``quantum``."""

    def __init__(self, most: int, quantum: int) -> None:
        self._most = most
        self._quantum = quantum
        self._parts: deque[_Part] = deque()
        self._waiting = 0

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, now: float, data: bytes, mark: Mark) -> None:
        """Something has come. Raises Overloaded."""
        self._parts.append(_Part(now, data, mark))
        self._waiting += len(data)
        if self._waiting > self._most:
            raise Overloaded("Audio comes faster than it can be heard: send it as it is spoken.", retry_after_s=1.0)

    def take(self) -> tuple[bytes, Mark, float]:
        """The next piece, up to the first mark; the mark; and when the last of it came."""
        pieces: list[bytes] = []
        room = self._quantum
        mark, arrived = Mark.NONE, 0.0
        while self._parts and room > 0 and mark is Mark.NONE:
            part = self._parts[0]
            arrived = part.at
            pieces.append(part.data[:room])
            if len(part.data) > room:
                part.data = part.data[room:]
                break
            room -= len(part.data)
            mark = part.mark
            self._parts.popleft()
        data = b"".join(pieces)
        self._waiting -= len(data)
        return data, mark, arrived
