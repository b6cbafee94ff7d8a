"""Watching turns: their rows are read and their owners asked, for all that are due at once."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any

from parley_gateway.core import effects as fx
from parley_gateway.core import flow
from parley_gateway.core.entry import Entry
from parley_gateway.core.session import Session
from parley_protocol.control import Attach, Audience
from parley_protocol.ids import TurnKey
from parley_runtime.control import ControlPlane
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock
from parley_runtime.store.ports import TurnRow, TurnStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

READ_S = 5.0
"""Deadline of a read of rows."""
ATTACH_KEYS = 1000
"""Keys of one attach message."""


class Watcher:
    """One SELECT and one broadcast per turn of the loop, however many turns are due."""

    def __init__(
        self,
        gateway: str,
        clock: Clock,
        store: TurnStore,
        control: ControlPlane,
        apply: Callable[[Iterable[fx.Effect]], None],
        promise: Callable[[Entry], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.gateway = gateway
        self._clock = clock
        self._store = store
        self._control = control
        self._apply = apply
        self._promise = promise
        self._spawn = spawn
        self._watching: dict[int, fx.Watch] = {}

    def add(self, watch: fx.Watch) -> None:
        """One read and one attach for all turns that are due in the same turn of the loop."""
        counter(names.WATCHES).labels(watch.cause).inc()
        if not self._watching:
            asyncio.get_running_loop().call_soon(self._due)
        known = self._watching.get(id(watch.entry))
        if known is not None:
            attach, taken = known.attach or watch.attach, known.taken or watch.taken
            watch = replace(known, attach=attach, taken=taken)
        self._watching[id(watch.entry)] = watch

    def _due(self) -> None:
        watches, self._watching = list(self._watching.values()), {}
        self._spawn(self._read(watches))

    async def _read(self, watches: list[fx.Watch]) -> None:
        checks = [watch.entry.check_id for watch in watches]
        rows = await self.read_rows([watch.entry.turn.key for watch in watches])
        now = self._clock.monotonic()
        for watch, check in zip(watches, checks, strict=True):
            entry = watch.entry
            fresh = entry.check_id == check
            if rows is None:
                self._apply(flow.on_row_unread(entry, now, fresh=fresh))
            else:
                self._apply(flow.on_row(entry, rows.get(entry.turn.key), now, fresh=fresh))
            self._promise(entry)
        unfinished = [watch for watch in watches if not watch.entry.ended]
        await self._attach(Audience.WORKERS, [watch.entry.turn.key for watch in unfinished if watch.attach])
        await self._attach(Audience.GATEWAYS, [watch.entry.turn.key for watch in unfinished if watch.taken])

    async def _attach(self, audience: Audience, keys: list[TurnKey]) -> None:
        for first in range(0, len(keys), ATTACH_KEYS):
            await self._control.broadcast(audience, Attach(self.gateway, tuple(keys[first : first + ATTACH_KEYS])))

    async def read_rows(self, keys: list[TurnKey]) -> dict[TurnKey, TurnRow] | None:
        """Rows by key; None where the store did not answer in time."""
        try:
            async with asyncio.timeout(READ_S):
                return {row.key: row for row in await self._store.rows(keys)}
        except (ParleyError, TimeoutError) as error:
            log.warning("rows cannot be read; again soon", cause=type(error).__name__, turns=len(keys))
            return None

    async def read_after(self, session: Session, turn: str, limit: int) -> list[TurnRow] | None:
        """Rows of the session after ``turn``; None where the store did not answer in time."""
        try:
            async with asyncio.timeout(READ_S):
                return await self._store.after(session.tenant, session.id, turn, limit=limit)
        except (ParleyError, TimeoutError) as error:
            log.warning("rows cannot be read; the client is told of a gap", cause=type(error).__name__)
            return None
