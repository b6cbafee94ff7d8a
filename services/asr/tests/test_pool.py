"""Who works with whom, and when."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from parley_asr.pool import Pool

pytestmark = pytest.mark.unit


class Someone:
    def __init__(self, name: str, *works: str) -> None:
        self.name = name
        self.works = list(works)
        self.told: list[BaseException | None] = []
        self.done = asyncio.Event()

    def take(self) -> str | None:
        return f"{self.name}{self.works.pop(0)}" if self.works else None

    def tell(self, error: BaseException | None) -> None:
        self.told.append(error)
        if not self.works:
            self.done.set()


class Run:
    """Keeps who was worked on together; the first run waits for ``go``."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, works: Sequence[str]) -> None:
        self.batches.append(list(works))
        self.begun.set()
        self.go.wait(10)
        if "bad" in "".join(works):
            raise ZeroDivisionError


def pool(run: Run, most: int) -> Pool[Someone, str]:
    return Pool(1, take=Someone.take, run=run, done=Someone.tell, most=most)


async def test_who_is_there_goes_together_and_who_comes_later_with_the_next() -> None:
    run = Run()
    shared = pool(run, 3)
    some = [Someone("a", "1", "2"), Someone("b", "1"), Someone("c", "1"), Someone("d", "1"), Someone("e", "1")]
    for each in some[:2]:
        shared.touch(each)
        shared.touch(each)
    assert await asyncio.to_thread(run.begun.wait, 10)
    for each in some[2:]:
        shared.touch(each)
    run.go.set()
    for each in some:
        await asyncio.wait_for(each.done.wait(), 10)
    assert run.batches == [["a1", "b1"], ["c1", "d1", "e1"], ["a2"]]
    await shared.aclose()


async def test_what_is_raised_is_told_to_all_that_were_worked_on_and_nobody_else() -> None:
    run = Run()
    run.go.set()
    shared = pool(run, 2)
    some = [Someone("a", "bad"), Someone("b", "1"), Someone("c", "1")]
    for each in some:
        shared.touch(each)
    for each in some:
        await asyncio.wait_for(each.done.wait(), 10)
    assert [[type(error) for error in each.told] for each in some] == [
        [ZeroDivisionError],
        [ZeroDivisionError],
        [type(None)],
    ]
    await shared.aclose()


async def test_nothing_is_begun_once_it_is_closed() -> None:
    run = Run()
    shared = pool(run, 1)
    first, second = Someone("a", "1", "2"), Someone("b", "1")
    for each in (first, second):
        shared.touch(each)
    assert await asyncio.to_thread(run.begun.wait, 10)
    closing = asyncio.create_task(shared.aclose())
    await asyncio.sleep(0)
    run.go.set()
    await closing
    await asyncio.sleep(0)
    assert run.batches == [["a1"]]
    assert second.works == ["1"]
