"""The broker's state as clients are told of it: ``degraded`` and ``restored``."""

from collections.abc import Mapping

from parley_gateway.hub import Hub
from parley_protocol.client import Degraded, Restored
from parley_runtime.ports import Link, LinkState
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

_FINE = frozenset({LinkState.UP, LinkState.CLOSED})
"""Closed is what this process does on its way out."""


def watch_broker(hub: Hub, links: Mapping[str, Link]) -> None:
    """Tell every socket when the first of ``links`` is not up any more, and when all are again."""

    def changed(_: LinkState, reason: str) -> None:
        down = [name for name, link in links.items() if link.state not in _FINE]
        if down and not hub.degraded:
            hub.degraded = "the message broker cannot be reached; accepted turns go on when it is back"
            log.warning("degraded", links=down, reason=reason, sockets=len(hub.connections))
            _tell(hub, Degraded(reason=hub.degraded))
        elif not down and hub.degraded:
            hub.degraded = ""
            log.info("restored", sockets=len(hub.connections))
            _tell(hub, Restored())

    for link in links.values():
        link.watch(changed)


def _tell(hub: Hub, frame: Degraded | Restored) -> None:
    for connection in list(hub.connections.values()):
        connection.news(frame)
