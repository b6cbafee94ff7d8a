"""Going away without losing anything: not ready, clients told at staggered times, turns finished, sockets closed."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from parley_gateway.hub import Hub
from parley_gateway.sockets import Socket
from parley_gateway.virtual import GOING as ASK_AGAIN
from parley_protocol.client import Draining
from parley_runtime.errors import Overloaded
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

SHARE = 0.8
"""Part of the deadline over which sockets are closed; the rest is for closing handshakes."""
POLL_S = 0.05
MAX_PACE_S = 10.0
"""Few sockets need no longer than this, whatever the deadline."""
PER_SOCKET_S = 0.01


async def drain(hub: Hub, deadline_s: float) -> None:
    """Close every socket with the code that calls its client back (4001; 1001 in the documented dialects) within
    ``deadline_s``: idle ones first, spread over time; one whose turn runs is closed when the turn ends or its time has
    come. What is unfinished then goes on at the next gateway.

    HTTP requests are answered meanwhile. One whose turn has not ended in time is told to ask again; its turn goes on
    where it has an ``Idempotency-Key`` to come back with, and is cancelled where it has not.

    Cancelled (a second signal): what is left is closed at once.
    """
    hub.draining = True
    started = asyncio.get_running_loop().time()
    requests = set(hub.requests)
    plan = _tell(hub, deadline_s)
    latest = started + deadline_s * SHARE
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_close(hub, plan, started, latest))
            tasks.create_task(_answer(hub, requests, latest))
        with suppress(TimeoutError):
            async with asyncio.timeout_at(started + deadline_s):
                await _until_left(hub, lambda: not hub.connections and not requests & hub.requests)
    finally:
        left = list(hub.connections.values())
        if left:
            log.warning("sockets closed at once", sockets=len(left))
        for connection in left:
            connection.go_now()


def _tell(hub: Hub, deadline_s: float) -> deque[tuple[float, Socket]]:
    """Tell every socket when to come back. Returns when each is to be closed, seconds from now, earliest first."""
    connections = list(hub.connections.values())
    pace_s = min(deadline_s * SHARE, MAX_PACE_S, max(0.2, len(connections) * PER_SOCKET_S))
    log.info(
        "draining",
        sockets=len(connections),
        requests=len(hub.requests),
        turns=len(hub.registry.open_turns()),
        pace_s=round(pace_s, 2),
    )
    plan: deque[tuple[float, Socket]] = deque()
    for index, connection in enumerate(connections):
        at = pace_s * index / len(connections)
        plan.append((at, connection))
        connection.news(Draining(reconnect_in_ms=int(at * 1000) + random.randint(50, 500)))  # noqa: S311 - spreads load, no secret
    return plan


async def _close(hub: Hub, plan: deque[tuple[float, Socket]], started: float, latest: float) -> None:
    """Idle sockets at their time, those with a turn when it has ended, all of them at ``latest``."""
    loop = asyncio.get_running_loop()
    busy: list[Socket] = []
    while plan or busy:
        now = loop.time()
        due = busy
        while plan and (plan[0][0] <= now - started or now >= latest):
            due.append(plan.popleft()[1])
        busy = []
        for connection in due:
            if id(connection) not in hub.connections:
                continue
            if now < latest and connection.busy:
                busy.append(connection)
            else:
                connection.go()
        if plan or busy:
            await asyncio.sleep(POLL_S)


async def _answer(hub: Hub, requests: set[object], latest: float) -> None:
    """Let requests that were there be answered; at ``latest`` those that wait for a turn are told to ask again."""
    with suppress(TimeoutError):
        async with asyncio.timeout_at(latest):
            await _until_left(hub, lambda: not requests & hub.requests)
            return
    log.warning("requests told to ask again", requests=len(hub.asks))
    for sink in tuple(hub.asks):
        sink.leave(Overloaded(ASK_AGAIN, retry_after_s=hub.admission.elsewhere_s()))


async def _until_left(hub: Hub, done: Callable[[], bool]) -> None:
    while not done():
        hub.left.clear()
        await hub.left.wait()
