"""The sweeper ends turns that everybody has lost: rows that stay open far beyond any deadline are closed ``expired``.

It trusts no wall clock: a row counts from when this process first saw it open. Several processes may sweep.
"""

import asyncio
from dataclasses import dataclass

from parley_protocol.events import Fault, TurnStatus
from parley_protocol.faults import FaultCode
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.config import setting
from parley_runtime.errors import ParleyError
from parley_runtime.ports import Clock, Link
from parley_runtime.store.ports import TurnRow, TurnStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.worker import Delivered, publish_record

TOGETHER = 16
"""Turns whose gateways are asked side by side what they have delivered."""

log = get_logger(__name__)

_FAULT = Fault(FaultCode.EXPIRED.value, "The turn was lost on its way and its time ran out. Ask again.", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweeperOptions:
    """When an open row counts as lost."""

    every_s: float = setting(
        "PARLEY_SWEEP_S", 10.0, "time between looks for turns that were lost", unit="seconds", minimum=0.1, maximum=3600
    )
    budget_s: float = setting(
        "PARLEY_TURN_BUDGET_S",
        120.0,
        "Deadline of a turn whose client sets none, and the longest one",
        unit="seconds",
        minimum=1,
    )
    grace_s: float = setting("PARLEY_SWEEP_GRACE_S", 60.0, "time on top of the budget", unit="seconds", minimum=0)
    watched: int = setting(
        "PARLEY_SWEEP_TURNS", 1000, "open turns watched at a time, the oldest first", unit="turns", minimum=1
    )


class Sweeper:
    """``run`` it as a task of the process; ``link`` publishes its records, ``delivered`` says what clients have."""

    def __init__(
        self,
        store: TurnStore,
        link: Link,
        delivered: Delivered,
        clock: Clock,
        options: SweeperOptions | None = None,
    ) -> None:
        self._store = store
        self._link = link
        self._delivered = delivered
        self._clock = clock
        self._options = options or SweeperOptions()
        self._seen: dict[TurnKey, float] = {}

    async def run(self) -> None:
        """Sweep for ever. Store or broker being away is another part's trouble: the next round tries again."""
        while True:
            await asyncio.sleep(self._options.every_s)
            try:
                await self.sweep()
            except ParleyError as error:
                log.info("sweep put off", reason=type(error).__name__)

    async def sweep(self) -> int:
        """One look; returns how many turns it ended. Raises as store and link do."""
        rows = await self._store.overdue(self._options.every_s, limit=self._options.watched)
        now = self._clock.monotonic()
        self._seen = {row.key: self._seen.get(row.key, now) for row in rows}
        limit = self._options.budget_s + self._options.grace_s
        lost = [row for row in rows if now - self._seen[row.key] > limit]
        for start in range(0, len(lost), TOGETHER):
            some = lost[start : start + TOGETHER]
            texts = await asyncio.gather(*(self._delivered(row.key, row.fence) for row in some))
            for row, text in zip(some, texts, strict=True):
                await publish_record(self._link, _ending(row, text))
                counter(names.RECORDS).labels("swept").inc()
                log.warning("turn was lost; ended as expired", turn=row.key.turn, fence=row.fence)
        return len(lost)


def _ending(row: TurnRow, text: str | None) -> Record:
    return Record(
        key=row.key,
        submission=row.submission,
        budget_s=0.0,
        base=row.base,
        fence=row.fence,
        status=TurnStatus.EXPIRED,
        text=text,
        fault=_FAULT,
        forced=True,
    )
