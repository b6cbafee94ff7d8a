"""Processes as the in-memory broker knows them: their links, and how these are lost and come back."""

import asyncio

from parley_protocol.routes import Topology
from parley_runtime.errors import ConfigError, Unavailable
from parley_runtime.ports import Message
from parley_testkit.memory.intake import Intake
from parley_testkit.memory.link import MemoryLink
from parley_testkit.memory.server import Server


class MemoryProcess:
    """Implements :class:`parley_runtime.ports.Broker` for one process."""

    def __init__(self, broker: "Processes", name: str, topology: Topology) -> None:
        self.name = name
        self._wire = _Wire(broker, topology)
        self._broker = broker
        self.links: list[MemoryLink] = []
        self.reachable = asyncio.Event()
        self.reachable.set()

    async def open(self, purpose: str, *, wait_s: float = 30.0) -> MemoryLink:
        """As the port says."""
        if self._broker.refusal:
            raise ConfigError(self._broker.refusal)
        try:
            async with asyncio.timeout(wait_s):
                await self.reachable.wait()
                await self._broker.running.wait()
        except TimeoutError:
            raise Unavailable(f"no broker answered within {wait_s:g} s") from None
        link = MemoryLink(self._wire, purpose)
        link.connect()
        self.links.append(link)
        return link

    async def close(self) -> None:
        """Close every link, last opened first."""
        while self.links:
            await self.links.pop().close()


class _Wire:
    """A process's way to the server; see :class:`parley_testkit.memory.link.Wire`."""

    def __init__(self, broker: "Processes", topology: Topology) -> None:
        self.server = broker.server
        self.topology = topology
        self._broker = broker

    @property
    def blocked(self) -> bool:
        return self._broker.intake.blocked

    def read(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> asyncio.Task[bool]:
        return self._broker.intake.read(exchange, key, message, mandatory=mandatory)


class Processes:
    """Those connected to one broker. A lost connection comes back ``reconnect_s`` later, if broker and process can."""

    def __init__(self, topology: Topology, *, reconnect_s: float) -> None:
        self.server = Server()
        self.refusal = ""
        self.intake = Intake(self.server)
        self.running = asyncio.Event()
        self.running.set()
        self._topology = topology
        self._reconnect_s = reconnect_s
        self._processes: dict[str, MemoryProcess] = {}
        self._returning: asyncio.TimerHandle | None = None

    def process(self, name: str, topology: Topology | None = None) -> MemoryProcess:
        """A process's own broker. The same name again is the same process, until it is killed."""
        if name not in self._processes:
            self._processes[name] = MemoryProcess(self, name, topology or self._topology)
        return self._processes[name]

    def kill(self, process: str) -> None:
        """The process is gone: its links end, what it had not settled returns to the queues."""
        gone = self._processes.pop(process)
        for link in gone.links:
            link.drop()

    def cut(self, process: str) -> None:
        """The process loses its connections and gets them back ``reconnect_s`` later."""
        links = self._processes[process].links
        for link in links:
            link.cut()
        self._reconnect_soon()

    def part(self, process: str) -> None:
        """The process loses its connections and cannot reach the broker until :meth:`rejoin`."""
        self._processes[process].reachable.clear()
        for link in self._processes[process].links:
            link.cut()

    def rejoin(self, process: str) -> None:
        """The end of :meth:`part`; links return after ``reconnect_s``."""
        self._processes[process].reachable.set()
        self._reconnect_soon()

    async def close(self) -> None:
        """End every process and its links."""
        for process in tuple(self._processes.values()):
            await process.close()
        if self._returning is not None:
            self._returning.cancel()

    def _reconnect_soon(self) -> None:
        if self._returning is not None:
            self._returning.cancel()
        self._returning = asyncio.get_running_loop().call_later(self._reconnect_s, self._connect)

    def _links(self) -> list[MemoryLink]:
        return [link for process in self._processes.values() for link in process.links]

    def _connect(self) -> None:
        for process in self._processes.values():
            if self.running.is_set() and process.reachable.is_set():
                for link in process.links:
                    link.connect()
