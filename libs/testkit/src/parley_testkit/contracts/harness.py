"""What a contract suite needs of a broker, beside the port: processes that die and connections that fail."""

import asyncio
from typing import Protocol
from urllib.parse import urlsplit

from parley_protocol.routes import Topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.ports import Broker
from parley_testkit.memory import MemoryBroker
from parley_testkit.proxy import CuttableProxy
from parley_testkit.rabbit import RealBroker

PASSWORD = "not-the-password"


class BrokerUnderTest(Protocol):
    """A running broker, reached by named processes, with faults on request."""

    async def process(self, name: str, topology: Topology) -> Broker: ...

    async def stranger(self, *, vhost: str = "") -> Broker:
        """A process whose password (:data:`PASSWORD`) or else virtual host is refused."""
        ...

    async def kill(self, name: str) -> None:
        """The process dies: its connections end, nothing is settled."""
        ...

    async def cut(self, name: str) -> None:
        """The process loses its connections and may connect again at once."""
        ...

    async def part(self, name: str) -> None:
        """The process loses its connections and cannot reach the broker."""
        ...

    async def rejoin(self, name: str) -> None:
        """The end of ``part``."""
        ...

    async def restart(self) -> None:
        """Restart the broker in an orderly way."""
        ...

    async def block(self) -> None:
        """Raise a memory alarm."""
        ...

    async def unblock(self) -> None: ...

    async def delete_queue(self, name: str) -> None:
        """As an operator would."""
        ...

    async def close(self) -> None:
        """End what this test opened."""
        ...


class MemoryUnderTest:
    """The in-memory broker."""

    def __init__(self) -> None:
        self._broker = MemoryBroker(Topology((), ()))

    async def process(self, name: str, topology: Topology) -> Broker:
        return self._broker.process(name, topology)

    async def stranger(self, *, vhost: str = "") -> Broker:
        self._broker.refuse_logins(f"RabbitMQ refused guest@memory {vhost}: check AMQP_URL")
        return self._broker.process("stranger")

    async def kill(self, name: str) -> None:
        self._broker.kill(name)

    async def cut(self, name: str) -> None:
        self._broker.cut(name)

    async def part(self, name: str) -> None:
        self._broker.part(name)

    async def rejoin(self, name: str) -> None:
        self._broker.rejoin(name)

    async def restart(self) -> None:
        self._broker.restart()

    async def block(self) -> None:
        self._broker.block()

    async def unblock(self) -> None:
        self._broker.unblock()

    async def delete_queue(self, name: str) -> None:
        self._broker.delete_queue(name)

    async def close(self) -> None:
        await self._broker.close()


class RabbitUnderTest:
    """A real RabbitMQ; each process reaches it through a proxy of its own."""

    def __init__(self, real: RealBroker) -> None:
        self._real = real
        self._processes: dict[str, tuple[AmqpBroker, CuttableProxy]] = {}
        self._ended: list[tuple[AmqpBroker, CuttableProxy]] = []
        self._blocked = False

    async def process(self, name: str, topology: Topology) -> Broker:
        parts = urlsplit(self._real.url)
        proxy = CuttableProxy(str(parts.hostname), int(parts.port or 0))
        await proxy.start()
        broker = AmqpBroker(f"amqp://guest:guest@127.0.0.1:{proxy.port}/", name=name, topology=topology)
        self._processes[name] = (broker, proxy)
        return broker

    async def stranger(self, *, vhost: str = "") -> Broker:
        parts = urlsplit(self._real.url)
        password = "guest" if vhost else PASSWORD
        url = f"amqp://guest:{password}@{parts.hostname}:{parts.port}/{vhost}"
        return AmqpBroker(url, name="stranger", topology=Topology((), ()))

    async def kill(self, name: str) -> None:
        dead = self._processes.pop(name)
        self._ended.append(dead)
        await dead[1].refuse()

    async def cut(self, name: str) -> None:
        self._processes[name][1].cut()

    async def part(self, name: str) -> None:
        await self._processes[name][1].refuse()

    async def rejoin(self, name: str) -> None:
        await self._processes[name][1].restore()

    async def restart(self) -> None:
        await self._ctl("stop_app")
        await self._ctl("start_app")

    async def block(self) -> None:
        self._blocked = True
        await self._ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    async def unblock(self) -> None:
        self._blocked = False
        await self._ctl("set_vm_memory_high_watermark", "0.4")

    async def delete_queue(self, name: str) -> None:
        await self._ctl("delete_queue", name)

    async def close(self) -> None:
        if self._blocked:
            await self.unblock()
        for broker, proxy in (*self._processes.values(), *self._ended):
            await broker.close()
            await proxy.close()

    async def _ctl(self, *arguments: str) -> None:
        await asyncio.to_thread(self._real.ctl, *arguments)
