"""Retention: what is older than the installation wants to keep is removed, a few rows at a time.

Turns still open are never touched. A turn id that comes again after its row has gone is a new turn: promises about
repeated submissions hold for as long as rows are kept. Ages are by the clock of the store.
Any number of processes may look.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from parley_runtime.config import setting
from parley_runtime.errors import ParleyError
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

DAY_S = 86_400.0
LEAST_S = 3_600.0
"""Shortest time that rows are kept, if they are not kept for ever: far above any turn's deadline and any window in
which a client may resume."""
PAUSE_S = 0.02
"""Between two batches, so that claims and records get their turn at the store."""

Forget = Callable[[], Awaitable[int]]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionOptions:
    """How long rows are kept after they are of no more use to the protocol."""

    turns_s: float = setting(
        "PARLEY_KEEP_TURNS_S",
        0.0,
        "How long conversations are kept after a turn has ended; at least 3600, and longer than PARLEY_RESUME_S",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    dead_s: float = setting(
        "PARLEY_KEEP_DEAD_S",
        30 * DAY_S,
        "How long dead letters are kept; at least 3600",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    removed_s: float = setting(
        "PARLEY_KEEP_REMOVED_S",
        DAY_S,
        "How long the names of removed documents are kept; at least 3600. An index that was away for longer is rebuilt",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    contact_s: float = setting(
        "PARLEY_KEEP_CONTACT_S",
        0.0,
        "How long messages of the contact chat are kept; at least 3600",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    reviews_s: float = setting(
        "PARLEY_KEEP_REVIEWS_S",
        0.0,
        "How long contract reviews are kept after they have ended; at least 3600",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    readings_s: float = setting(
        "PARLEY_KEEP_READINGS_S",
        366 * DAY_S,
        "How long readings are kept after they were brought in, whatever time they are of; at least 3600",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    sessions_s: float = setting(
        "PARLEY_KEEP_SESSIONS_S",
        30 * DAY_S,
        "How long it is kept that a tutor session has ended; at least 3600",
        unit="seconds",
        zero="for ever",
        minimum=0,
    )
    every_s: float = setting(
        "PARLEY_FORGET_EVERY_S",
        60.0,
        "Time between looks for what is too old",
        unit="seconds",
        minimum=1,
        maximum=86400,
    )
    batch: int = setting(
        "PARLEY_FORGET_BATCH", 100, "Rows looked at by one statement", unit="rows", minimum=1, maximum=10_000
    )

    def __post_init__(self) -> None:
        kept = {
            "PARLEY_KEEP_TURNS_S": self.turns_s,
            "PARLEY_KEEP_DEAD_S": self.dead_s,
            "PARLEY_KEEP_REMOVED_S": self.removed_s,
            "PARLEY_KEEP_CONTACT_S": self.contact_s,
            "PARLEY_KEEP_REVIEWS_S": self.reviews_s,
            "PARLEY_KEEP_READINGS_S": self.readings_s,
            "PARLEY_KEEP_SESSIONS_S": self.sessions_s,
        }
        short = ", ".join(name for name, seconds in kept.items() if 0 < seconds < LEAST_S)
        if short:
            raise ValueError(f"{short}: use at least {LEAST_S:.0f} seconds, or 0 to keep everything")


class Retention:
    """``run`` it as a task of the process."""

    def __init__(self, store: Store, options: RetentionOptions | None = None) -> None:
        self._options = options or RetentionOptions()
        tables = (
            ("turns", self._options.turns_s, store.forget_turns),
            ("threads", self._options.turns_s, store.threads.forget),
            ("dead", self._options.dead_s, store.forget_dead),
            ("documents", self._options.removed_s, store.forget_removed),
            ("contact", self._options.contact_s, store.contact.forget),
            ("reviews", self._options.reviews_s, store.reviews.forget),
            ("readings", self._options.readings_s, store.readings.forget),
            ("tutor_sessions", self._options.sessions_s, store.tutors.forget_sessions),
        )
        self._tables: dict[str, Forget] = {
            table: partial(forget, older_than_s, limit=self._options.batch)
            for table, older_than_s, forget in tables
            if older_than_s
        }

    async def run(self) -> None:
        """Look for ever. A store that is away is another part's trouble: the next round tries again."""
        while True:
            await asyncio.sleep(self._options.every_s)
            try:
                await self.sweep()
            except ParleyError as error:
                log.info("retention put off", reason=type(error).__name__)

    async def sweep(self) -> dict[str, int]:
        """Remove everything that is too old; returns how many rows of which table. Raises as the store does."""
        removed: dict[str, int] = {}
        for table, forget in self._tables.items():
            while count := await forget():
                removed[table] = removed.get(table, 0) + count
                counter(names.FORGOTTEN).labels(table).inc(count)
                await asyncio.sleep(PAUSE_S)
        if removed:
            log.info("removed what was too old", **removed)
        return removed
