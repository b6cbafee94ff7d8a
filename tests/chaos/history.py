"""What happened in a chaos run, as its clients and its fault injector saw it: the only thing the checker is given.

Nothing here comes from inside Parley. Times are seconds on the run's monotonic clock, counted from its start.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A client is about to send a turn for the first time. ``tag`` is a word of the question that no other turn's
    question holds; its answer repeats it. ``cancels``: the client means to cancel it. ``budget_s``: its deadline.
    """

    at: float
    client: str
    turn: str
    tag: str
    budget_s: float
    cancels: bool = False


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """A socket of a client is open at a gateway."""

    at: float
    client: str
    socket: int
    gateway: str


class Sent(msgspec.Struct, frozen=True, tag="sent"):
    """A frame that the client wrote to a socket."""

    at: float
    client: str
    socket: int
    frame: dict[str, Any]


class Received(msgspec.Struct, frozen=True, tag="received"):
    """A frame as it was read, before any library has judged it."""

    at: float
    client: str
    socket: int
    frame: dict[str, Any]


class Closed(msgspec.Struct, frozen=True, tag="closed"):
    """The socket is gone. ``code`` 1006: without a word. ``own``: the client dropped it on purpose."""

    at: float
    client: str
    socket: int
    code: int
    own: bool = False


class Reread(msgspec.Struct, frozen=True, tag="reread"):
    """At the end of the run a new socket with no position asked for the turn: what is stored, as a client reads it.
    ``frames`` are all frames of that turn; the last one is its ``turn.done``, or there is none.
    """

    at: float
    client: str
    turn: str
    frames: tuple[dict[str, Any], ...]


class Injected(msgspec.Struct, frozen=True, tag="injected"):
    """A fault began. ``phase``: the moment of a turn's life it was aimed at, "" for any; ``turn``: that turn."""

    at: float
    fault: str
    target: str
    phase: str = ""
    turn: str = ""


class Healed(msgspec.Struct, frozen=True, tag="healed"):
    """The fault was taken back: the process runs again, the link is whole."""

    at: float
    fault: str
    target: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The run is over: every fault is healed and clients have waited for their turns long enough."""

    at: float


Happening = Asked | Opened | Sent | Received | Closed | Reread | Injected | Healed | Finished

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Happening)


class History:
    """Append-only, in order of time; also written to ``path`` line by line, so that a run that dies can be judged."""

    def __init__(self, path: Path | None = None) -> None:
        self.happenings: list[Happening] = []
        self._began = time.monotonic()
        self._file = path.open("wb") if path is not None else None

    def now(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._began

    def add(self, happening: Happening) -> None:
        """Append; not flushed until :meth:`close` or the buffer is full."""
        self.happenings.append(happening)
        if self._file is not None:
            self._file.write(_encoder.encode(happening) + b"\n")

    def close(self) -> None:
        """Write out what is buffered."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read(path: Path) -> Iterator[Happening]:
    """The happenings of an earlier run. Raises msgspec.DecodeError for a line that is none."""
    with path.open("rb") as file:
        for line in file:
            yield _decoder.decode(line)
