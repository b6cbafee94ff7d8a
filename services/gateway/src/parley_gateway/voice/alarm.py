"""Calls back later: soon, or in a while."""

import asyncio
from collections.abc import Callable


class Alarm:
    """One call at a time of each kind. Who is called cancels what is left of the other."""

    __slots__ = ("_call", "_loop", "_soon", "_timer")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """In the loop's next turn, once however often this is asked for."""
        if self._soon is None:
            self._soon = self._loop.call_soon(self._call)

    def after(self, wait_s: float) -> None:
        """In so many seconds."""
        self._timer = self._loop.call_later(wait_s, self._call)

    def cancel(self) -> None:
        """Not at all."""
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        self._soon = self._timer = None
