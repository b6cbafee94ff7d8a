"""The gateway's one regular timer: sockets without hello, turns to let go of, and pauses of the loop."""

import asyncio

from parley_gateway.endpoint import expire_hellos
from parley_gateway.hub import Hub
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

EVERY_S = 0.25
PAUSE_S = 1.0
"""A loop that stood still for longer has missed what happened meanwhile: every unfinished turn is watched."""
BACKLOG_S = 0.5
"""Given to what came in meanwhile. A turn whose next items are among it has missed nothing: asking for a whole text of
each turn would hold up a loop that is behind already, until it stands still for too long again.
"""


class Pulse:
    """Beats until closed."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._last = hub.now()
        self._handle = asyncio.get_running_loop().call_later(EVERY_S, self._beat)

    async def close(self) -> None:
        """Beat no more."""
        self._handle.cancel()

    def _beat(self) -> None:
        now = self._hub.now()
        paused, self._last = now - self._last - EVERY_S, now
        self._handle = asyncio.get_running_loop().call_later(EVERY_S, self._beat)
        if paused > PAUSE_S:
            log.warning("loop paused; watching every unfinished turn", seconds=round(paused, 2))
            self._hub.dispatch.watch_all("pause", after_s=BACKLOG_S)
        expire_hellos(self._hub, now)
        self._hub.registry.sweep(now)
