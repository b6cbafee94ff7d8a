"""Memory that was freed goes back to the system.

glibc gives back what lies at the end of its heap. After a storm of long answers the rest lies between things that are
still in use, and a process would keep its greatest size for ever.
"""

import asyncio
import ctypes
from collections.abc import Callable

EVERY_S = 5.0
STEP = 32 * 1024 * 1024
"""Bytes that must have been freed since the last time: so much goes back in about 5 ms."""


class Freed:
    """When it is worth while: pure. ``free`` is what the allocator has to spare, given back or not: it cannot tell."""

    def __init__(self) -> None:
        self._given = 0

    def due(self, free: int) -> bool:
        """Whether ``STEP`` more bytes are free than have been given back; then they count as given back."""
        self._given = min(self._given, free)  # what is used again is no longer given back
        if free - self._given < STEP:
            return False
        self._given = free
        return True


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


async def give_back() -> None:
    """Look every few seconds, for ever. Returns at once where the C library is not a glibc of 2.33 or later."""
    calls = _glibc()
    if calls is None:
        return
    free, trim = calls
    freed = Freed()
    while True:
        await asyncio.sleep(EVERY_S)
        if freed.due(free()):
            trim()


def _glibc() -> tuple[Callable[[], int], Callable[[], None]] | None:
    """What tells how much is free, and what gives it back."""
    library = ctypes.CDLL(None)
    try:
        mallinfo, malloc_trim = library.mallinfo2, library.malloc_trim
    except AttributeError:
        return None
    mallinfo.restype = _Mallinfo
    return lambda: int(mallinfo().fordblks), lambda: malloc_trim(0)
