"""An in-memory broker that keeps the promises of ``parley_runtime.ports`` as RabbitMQ keeps them, faults included."""

from parley_testkit.memory.broker import MemoryBroker
from parley_testkit.memory.processes import MemoryProcess

__all__ = ["MemoryBroker", "MemoryProcess"]
