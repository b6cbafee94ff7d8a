"""Looks after reviews that stand still: their job is sent again, and beyond their deadline they fail.

A task is in the store before its job is in a queue, so whatever is lost on the way is found here. Ages are by the
store's clock. Any number of processes may sweep: the store gives a still task to one of them.
"""

import asyncio

from parley_protocol.reviews import ReadReview
from parley_rag.review import ending
from parley_rag.review.ending import Endings
from parley_rag.review.post import Post
from parley_rag.review.registry import ReviewSettings
from parley_runtime.errors import ParleyError
from parley_runtime.store.review_ports import ReviewStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

TOGETHER = 50
"""Tasks taken at a time."""


class ReviewSweeper:
    """``run`` it as a task of the process."""

    def __init__(self, store: ReviewStore, post: Post, endings: Endings, settings: ReviewSettings) -> None:
        self._store = store
        self._post = post
        self._endings = endings
        self._settings = settings

    async def run(self) -> None:
        """Sweep for ever. Store or broker being away is another part's trouble: the next round tries again."""
        while True:
            await asyncio.sleep(self._settings.sweep_s)
            try:
                await self.sweep()
            except ParleyError as error:
                log.info("sweep of reviews put off", reason=type(error).__name__)

    async def sweep(self) -> int:
        """One look; returns how many tasks stood still. Raises as store and link do."""
        rows = await self._store.stalled(self._settings.still_s, limit=TOGETHER)
        for row in rows:
            if row.age_s > self._settings.deadline_s:
                await self._endings.fail(row.tenant, row.task, ending.LATE)
                continue
            counter(names.REVIEWS).labels("again").inc()
            log.warning("review stands still; sent again", task=row.task, status=row.status.value, done=row.done)
            await self._post.send(ReadReview(tenant=row.tenant, task=row.task), lambda: True)
        return len(rows)
