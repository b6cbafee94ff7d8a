"""Going away without losing anything: not ready, clients told at staggered times, turns finished, sockets closed."""

import asyncio
import random
from contextlib import suppress

from parley_gateway.connection import Connection
from parley_gateway.hub import Hub
from parley_protocol.client import Draining
from parley_protocol.faults import CloseCode
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

SHARE = 0.8
"""Part of the deadline over which sockets are closed; the rest is for closing handshakes."""
POLL_S = 0.05
MAX_PACE_S = 10.0
"""Few sockets need no longer than this, whatever the deadline."""
PER_SOCKET_S = 0.01


async def drain(hub: Hub, deadline_s: float) -> None:
    """Close every socket with 4001 within ``deadline_s``: idle ones first, spread over time; one whose turn runs is
    closed when the turn ends or its time has come. What is unfinished then goes on at the next gateway.
    """
    hub.draining = True
    loop = asyncio.get_running_loop()
    connections = list(hub.connections.values())
    pace_s = min(deadline_s * SHARE, MAX_PACE_S, max(0.2, len(connections) * PER_SOCKET_S))
    log.info("draining", sockets=len(connections), turns=len(hub.registry.open_turns()), pace_s=round(pace_s, 2))
    started = loop.time()
    plan: list[tuple[float, Connection]] = []
    for index, connection in enumerate(connections):
        at = pace_s * index / max(1, len(connections))
        plan.append((started + at, connection))
        connection.outbox.push(Draining(reconnect_in_ms=int(at * 1000) + random.randint(50, 500)))  # noqa: S311 - spreads load, no secret
    await _close(hub, plan, started + deadline_s * SHARE)
    with suppress(TimeoutError):
        async with asyncio.timeout_at(started + deadline_s):
            await _all_gone(hub)
    for connection in list(hub.connections.values()):
        connection.wire.abort()


async def _all_gone(hub: Hub) -> None:
    while hub.connections:
        hub.left.clear()
        await hub.left.wait()


async def _close(hub: Hub, plan: list[tuple[float, Connection]], latest: float) -> None:
    loop = asyncio.get_running_loop()
    while plan:
        now = loop.time()
        waiting: list[tuple[float, Connection]] = []
        for at, connection in plan:
            if now >= latest or (now >= at and not _busy(connection)):
                connection.close(CloseCode.DRAINING, "this gateway is going away; reconnect and resume")
            elif id(connection) in hub.connections:
                waiting.append((at, connection))
        plan = waiting
        if plan:
            await asyncio.sleep(POLL_S)


def _busy(connection: Connection) -> bool:
    session = connection.session
    return session is not None and (bool(session.open) or not connection.outbox.empty)
