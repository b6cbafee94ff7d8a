"""The driver's end of the probe: holds a process at a named point of one turn, so that a fault hits that very moment.

A probed process opens the Unix socket for each point that a turn with ``hold`` in its id reaches, sends one line
``{"pid", "role", "point", "turn", "fence"}`` and goes on when it reads a line or the connection ends.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

GO = b"go\n"


@dataclass(frozen=True)
class Reached:
    """A turn is at a point of a process."""

    pid: int
    role: str
    point: str
    turn: str
    fence: int = 0


@dataclass
class Stop:
    """An armed point. The first process to reach it is held until :meth:`release`; later ones pass."""

    turn: str
    point: str
    _reached: asyncio.Future[Reached] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _holds: bool = False

    async def reached(self, within_s: float) -> Reached:
        """Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self._reached)

    def release(self) -> None:
        """Let it go on, or pass if it has not come yet. May be called again."""
        self._released.set()

    @property
    def is_reached(self) -> bool:
        """Whether a process has come to the point."""
        return self._reached.done()

    @property
    def holds(self) -> bool:
        """Whether a process is held at the point now."""
        return self._holds

    async def hold(self, reached: Reached) -> None:
        """Until released, or cancelled because the process is gone; a second process passes."""
        if self._reached.done():
            return
        self._holds = True
        self._reached.set_result(reached)
        try:
            await self._released.wait()
        finally:
            self._holds = False


class Stops:
    """Listens on ``path`` for the probes of every process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: dict[str, list[Reached]] = {}
        """By turn: every point that was reached, in order."""
        self._armed: dict[tuple[str, str], Stop] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._probe, str(self.path))

    def arm(self, turn: str, point: str) -> Stop:
        """Hold the first process in which ``turn`` reaches ``point``."""
        stop = Stop(turn, point)
        self._armed[turn, point] = stop
        return stop

    def holds(self, turn: str) -> bool:
        """Whether some process holds ``turn`` now."""
        return any(stop.holds for (armed, _), stop in self._armed.items() if armed == turn)

    def forget(self, turn: str) -> None:
        """Release what is held of ``turn``, and arm nothing of it any more."""
        for key in [key for key in self._armed if key[0] == turn]:
            self._armed.pop(key).release()
        self.passed.pop(turn, None)

    async def close(self) -> None:
        """Let every process go on."""
        for stop in self._armed.values():
            stop.release()
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _probe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ended = asyncio.ensure_future(self._answer(reader, writer))
        try:
            await ended
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # the process died, or the run is over: it holds nothing
        finally:
            ended.cancel()
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:
            return
        reached = Reached(**json.loads(line))
        self.passed.setdefault(reached.turn, []).append(reached)
        stop = self._armed.get((reached.turn, reached.point))
        if stop is not None:
            holding = asyncio.ensure_future(stop.hold(reached))
            gone = asyncio.ensure_future(reader.read(1))
            await asyncio.wait((holding, gone), return_when=asyncio.FIRST_COMPLETED)
            for one in (holding, gone):
                one.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await one
        writer.write(GO)
        await writer.drain()
