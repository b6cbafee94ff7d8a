"""How the in-memory broker reads publishes: at once, not at all during an alarm, and with confirms that can be lost."""

import asyncio

from parley_runtime.ports import Message
from parley_testkit.memory.server import Server


class Intake:
    """Reads publishes into a server. What was written is read sooner or later, whether or not its publisher waits."""

    def __init__(self, server: Server) -> None:
        self.lost_confirms = 0
        self._server = server
        self._reading = asyncio.Event()
        self._reading.set()
        self._reads: set[asyncio.Task[bool]] = set()

    @property
    def blocked(self) -> bool:
        return not self._reading.is_set()

    def block(self) -> None:
        self._reading.clear()

    def unblock(self) -> None:
        self._reading.set()

    def read(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> asyncio.Task[bool]:
        """Take a publish in; the result is False if its confirm is lost."""
        task = asyncio.create_task(self._read(exchange, key, message, mandatory=mandatory))
        self._reads.add(task)
        task.add_done_callback(self._done)
        return task

    def close(self) -> None:
        """Forget what was not read."""
        for task in self._reads:
            task.cancel()

    async def _read(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> bool:
        await self._reading.wait()
        self._server.publish(exchange, key, message, mandatory=mandatory)
        if self.lost_confirms:
            self.lost_confirms -= 1
            return False
        await asyncio.sleep(0)
        return True

    def _done(self, task: asyncio.Task[bool]) -> None:
        self._reads.discard(task)
        if not task.cancelled():
            task.exception()  # the publisher has it, if it still waits
