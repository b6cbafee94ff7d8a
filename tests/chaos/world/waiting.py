"""A turn that truly waits: in the broker's queue, with no worker there to take it."""

import asyncio
from typing import Final

from ..history import Healed, History, Injected, Received
from .world import World

WAITING: Final = "waiting"
"""The phase: accepted, and in the queue of the first stage."""
QUEUE: Final = "parley.retrieve"
FAULT: Final = "refuse-rag"
POLL_S: Final = 0.05


class Untaken:
    """Keeps every consumer of the first stage away from the broker until :meth:`end`."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._away: list[str] = []

    async def begin(self) -> None:
        """Reset, and refuse, their connections; what they had goes back to the queue."""
        for member in self._world.of("rag"):
            await member.proxy.refuse()
            self._history.add(Injected(self._history.now(), FAULT, member.name))
            self._away.append(member.name)

    async def end(self) -> None:
        """Let them come again. Idempotent."""
        for member in self._world.of("rag"):
            if member.name in self._away:
                await member.proxy.restore()
                self._history.add(Healed(self._history.now(), FAULT, member.name))
        self._away.clear()

    async def holds(self, turn: str, within_s: float) -> None:
        """Until the client of ``turn`` has read that it is accepted, and the broker says that messages wait. Raises
        TimeoutError.
        """
        async with asyncio.timeout(within_s):
            while True:
                if self._accepted(turn) and await self._ready():
                    return
                await asyncio.sleep(POLL_S)

    def _accepted(self, turn: str) -> bool:
        frame = {"type": "turn.accepted", "turn": turn}
        return any(isinstance(one, Received) and one.frame == frame for one in reversed(self._history.happenings))

    async def _ready(self) -> int:
        told = await asyncio.to_thread(self._world.broker.ctl, "list_queues", "name", "messages_ready")
        queues = dict(line.split() for line in told.splitlines() if len(line.split()) == 2)
        return int(queues.get(QUEUE, "0"))
