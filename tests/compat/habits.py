"""What the pages of the documented systems do about their sockets: heartbeats, and coming back after a loss."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]
HEARTBEAT_S = 30.0


@dataclass
class Clock:
    """A page's timers without the waiting: each pause is written down and is over at once, unless held."""

    pauses: list[float] = field(default_factory=list)
    beats: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)

    async def pause(self, seconds: float) -> None:
        """Before the page connects again."""
        self.pauses.append(seconds)

    async def interval(self, seconds: float) -> None:
        """The next tick of `setInterval`, which the test strikes."""
        assert seconds == HEARTBEAT_S
        await self.beats.get()

    def strike(self) -> None:
        """30 s have passed."""
        self.beats.put_nowait(None)


@dataclass
class Page:
    """A page that sends in `onopen`, handles by type, and comes back `tries` times (None: for ever), each time after
    `pause_s`. A socket that opens gives it all its tries again, as pages do that set their counter to 0 in `onopen`.
    """

    url: str
    first: tuple[str, ...]
    pause_s: float
    tries: int | None
    heartbeat: bool = False
    clock: Clock = field(default_factory=Clock)
    frames: "asyncio.Queue[Frame]" = field(default_factory=asyncio.Queue)
    sockets: int = 0
    stamps: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """Until the tries are used up."""
        failed = 0
        while self.tries is None or failed <= self.tries:
            if self.sockets or failed:
                await self.clock.pause(self.pause_s)
            with suppress(OSError, ConnectionClosed, EOFError):
                async with connect(self.url, proxy=None, close_timeout=1) as socket:
                    failed = 0
                    await self._live(socket)
            failed += 1

    async def _live(self, socket: ClientConnection) -> None:
        self.sockets += 1
        for text in self.first:
            await socket.send(text)
        heart = asyncio.create_task(self._beat(socket)) if self.heartbeat else None
        try:
            async for data in socket:
                self.frames.put_nowait(json.loads(data))
        finally:
            if heart is not None:
                heart.cancel()
                with suppress(asyncio.CancelledError):
                    await heart

    async def _beat(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self.clock.interval(HEARTBEAT_S)
                self.stamps.append(1_732_800_000_000 + len(self.stamps))
                await socket.send(json.dumps({"type": "heartbeat", "timestamp": self.stamps[-1]}))

    async def until(self, wanted: Callable[[Frame], bool], within: float = 20.0) -> Frame:
        """The next frame that is wanted; others are dropped."""
        async with asyncio.timeout(within):
            while not wanted(frame := await self.frames.get()):
                pass
        return frame


async def ended(task: "asyncio.Task[None]", within: float = 20.0) -> None:
    """The page has given up by itself."""
    async with asyncio.timeout(within):
        await task


async def stopped(task: "asyncio.Task[None]") -> None:
    """The page is closed."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
