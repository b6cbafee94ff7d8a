"""The model's row is the store's row: any sequence of claims and records gives the same answers and the same row."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_protocol.events import TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.work import Record
from parley_runtime.store import open_store
from parley_runtime.store.ports import AlreadyClosed, Store, Stored, TurnRow

from . import row as rows

pytestmark = pytest.mark.unit

FENCES = st.integers(0, 4)
EXPECTED = st.one_of(st.none(), FENCES)
FIRST = st.tuples(st.just("first"), st.sampled_from(["one", "two"]), EXPECTED)
LATER = st.tuples(st.just("later"), FENCES, EXPECTED)
CLOSE = st.tuples(
    st.just("close"),
    FENCES,
    st.sampled_from(["fenced", "forced", "own"]),
    st.sampled_from([TurnStatus.COMPLETED, TurnStatus.CANCELLED, TurnStatus.FAILED]),
    st.sampled_from([None, "", "a"]),
)
STEPS = st.lists(st.one_of(FIRST, FIRST, LATER, LATER, CLOSE), max_size=12)


def plain(answer: Any) -> Any:
    """Without what the model leaves out: times and the question."""
    if isinstance(answer, TurnRow):
        return msgspec.structs.replace(answer, opened_at=0.0, closed_ago_s=0.0, question="")
    if isinstance(answer, AlreadyClosed | Stored):
        return type(answer), plain(answer.row)
    return answer


async def both(store: Store, key: TurnKey, row: TurnRow | None, step: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The model's row and answer, and the store's answer."""
    mine: Any
    match step:
        case ("first", submission, fence):
            row, mine = rows.claim_first(row, key, submission, submission, fence)
            asked = {"submission": submission, "digest": submission, "question": "q"}
            return row, mine, await store.claim_first(key, **asked, fence=fence)
        case ("later", base, fence):
            row, mine = rows.claim_later(row, base, fence)
            return row, mine, await store.claim_later(key, base=base, fence=fence)
    _, fence, how, status, text = step
    record = Record(
        key=key,
        submission="one",
        budget_s=1,
        base=2,
        fence=fence,
        n=3,
        status=status,
        text=text,
        forced=how != "fenced",
        own=how == "own",
    )
    row, mine = rows.close(row, record)
    return row, mine, await store.close(record)


def test_the_models_row_is_the_stores(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        store = runner.run(open_store(f"sqlite+aiosqlite:///{tmp_path}/parley.db"))
        numbers = iter(range(1_000_000))

        async def run(steps: list[tuple[Any, ...]]) -> None:
            key = TurnKey("acme", "model", str(next(numbers)))
            row: TurnRow | None = None
            for step in steps:
                row, mine, its = await both(store, key, row, step)
                assert plain(mine) == plain(its)
                found = await store.rows([key])
                assert [plain(each) for each in found] == ([] if row is None else [plain(row)])

        @settings(max_examples=150, deadline=None, database=None)
        @given(STEPS)
        def agree(steps: list[tuple[Any, ...]]) -> None:
            runner.run(run(steps))

        try:
            agree()
        finally:
            runner.run(store.aclose())
