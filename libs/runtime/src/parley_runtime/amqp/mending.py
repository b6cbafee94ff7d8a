"""Declaring again what a publish found missing.

A queue with a consumer comes back with it. One that nobody consumes, a rung of the retry ladder above all, is noticed
only by whoever publishes to it, and would else stay away until some connection is made anew.
"""

import asyncio
from collections.abc import Awaitable, Callable

from parley_protocol.routes import Topology
from parley_runtime.amqp.faults import WireError
from parley_runtime.amqp.supervisor import Supervisor
from parley_runtime.amqp.wire import Wire
from parley_runtime.errors import ConfigError
from parley_runtime.telemetry.logging import get_logger

EVERY_S = 1.0
"""The topology is declared again at most this often on one link, however many publishes find no queue."""

FANOUT = "fanout"

_log = get_logger(__name__)


class Mender:
    """One link's. ``declare`` declares the whole topology on a wire."""

    def __init__(self, supervisor: Supervisor, topology: Topology, declare: Callable[[Wire], Awaitable[None]]) -> None:
        self._supervisor, self._topology, self._declare = supervisor, topology, declare
        self._task: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def unroutable(self, exchange: str, key: str) -> None:
        """No queue took a message. Where the topology has one for it, declare it again, in the background."""
        now = asyncio.get_running_loop().time()
        if now < self._not_before or (self._task is not None and not self._task.done()):
            return
        if routes(self._topology, exchange, key):
            self._not_before = now + EVERY_S
            self._task = asyncio.create_task(self._mend(exchange, key), name="declare the topology again")

    async def close(self) -> None:
        """Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _mend(self, exchange: str, key: str) -> None:
        wire = self._supervisor.wire
        if wire is None:
            return  # it is declared on the next one
        try:
            await self._declare(wire)
        except (WireError, ConfigError) as error:
            _log.warning("topology_not_declared_again", exchange=exchange, key=key, reason=str(error))
        else:
            _log.warning("topology_declared_again", exchange=exchange, key=key, reason="no queue took a message")


def routes(topology: Topology, exchange: str, key: str) -> bool:
    """Whether the topology has a queue for what is published to ``exchange`` with ``key``."""
    kinds = {each.name: each.kind for each in topology.exchanges}
    bindings = (binding for queue in topology.queues for binding in queue.bindings)
    return exchange in kinds and any(
        bound == exchange and (kinds[exchange] == FANOUT or wanted == key) for bound, wanted in bindings
    )
