"""One turn's row against a small model: any sequence of claims and records, on SQLite and PostgreSQL alike."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.store import open_store
from parley_runtime.store.ports import (
    AlreadyClosed,
    Claimed,
    NotMine,
    OtherSubmission,
    Store,
    Stored,
    Superseded,
)

T = TypeVar("T")
SUBMISSIONS = st.sampled_from(["one", "two"])
ENDINGS = st.sampled_from([status for status in TurnStatus if status is not TurnStatus.OPEN])
FENCES = st.integers(1, 4)


class _Turn(RuleBasedStateMachine):
    """The model: at most one row, as plain numbers."""

    runner: asyncio.Runner
    store: Store
    turns = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.key = TurnKey("acme", "model", str(next(self.turns)))
        self.submission: str | None = None  # None: no row
        self.base = self.fence = 0
        self.ending: tuple[TurnStatus, str | None] | None = None
        self.fences: list[int] = []

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    @rule(submission=SUBMISSIONS)
    def claim_first(self, submission: str) -> None:
        got = self.do(self.store.claim_first(self.key, submission=submission, digest=submission, question="q"))
        if self.ending is not None:
            assert isinstance(got, AlreadyClosed)
        elif self.submission not in (None, submission):
            assert got == OtherSubmission(conflict=True)
        else:
            self.submission = submission
            self.base = self.fence = self.fence + 1
            assert got == Claimed(self.base, self.fence)
            self.fences.append(self.fence)

    @rule(base=FENCES)
    def claim_later(self, base: int) -> None:
        got = self.do(self.store.claim_later(self.key, base=base))
        if self.ending is not None:
            assert isinstance(got, AlreadyClosed)
        elif self.submission is None or base != self.base:
            assert got == NotMine()
        else:
            self.fence += 1
            assert got == Claimed(self.base, self.fence)
            self.fences.append(self.fence)

    @rule(fence=FENCES, status=ENDINGS, text=st.one_of(st.none(), st.text(max_size=4)), forced=st.booleans())
    def close(self, fence: int, status: TurnStatus, text: str | None, forced: bool) -> None:
        record = Record(
            key=self.key,
            submission="closer",
            budget_s=1,
            base=7,
            fence=fence,
            status=status,
            text=text,
            forced=forced,
        )
        got = self.do(self.store.close(record))
        if self.ending is not None:
            assert isinstance(got, AlreadyClosed)
            assert (got.row.status, got.row.text) == self.ending
        elif not forced and (self.submission is None or fence != self.fence):
            assert got == Superseded()
        else:
            if self.submission is None:
                self.submission, self.base, self.fence = "closer", 7, fence
            self.ending = (status, text)
            assert isinstance(got, Stored)

    @invariant()
    def the_row_is_the_models(self) -> None:
        rows = self.do(self.store.rows([self.key]))
        if self.submission is None:
            assert rows == []
            return
        [row] = rows
        assert (row.submission, row.base, row.fence) == (self.submission, self.base, self.fence)
        assert (row.status, row.text) == (self.ending or (TurnStatus.OPEN, None))
        assert self.fences == sorted(set(self.fences))


def test_any_sequence_agrees_with_the_model(store_url: str) -> None:
    with asyncio.Runner() as loop:
        opened = loop.run(open_store(store_url))

        class Turn(_Turn):
            runner = loop
            store = opened

        try:
            run_state_machine_as_test(
                Turn,
                settings=settings(
                    max_examples=100,
                    stateful_step_count=15,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            loop.run(opened.aclose())
