"""One declaration of the topology for all links of a process.

It takes several round trips for each queue, a quorum queue's through its leader. A dozen links that each did it would
keep a young or busy broker from its work for seconds, just when everybody comes back to it.
"""

import asyncio
from collections.abc import Awaitable, Callable

from parley_runtime.amqp.wire import Wire


class Declared:
    """What ``declare`` does on a wire is not done again on others while that wire is open: a broker that has forgotten
    the topology has lost its connections too. Whoever comes meanwhile waits for it to be done. A queue that somebody
    deletes is declared again by its consumers, or by whoever finds it missing.
    """

    def __init__(self, declare: Callable[[Wire], Awaitable[None]]) -> None:
        self._declare = declare
        self._by: Wire | None = None
        self._lock = asyncio.Lock()

    async def __call__(self, wire: Wire) -> None:
        """Returns once the topology is declared. Raises what ``declare`` raises."""
        async with self._lock:
            if self._by is None or self._by.closing.done():
                await self._declare(wire)
                self._by = wire
