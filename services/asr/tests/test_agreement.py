"""LocalAgreement-2 and batches."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_asr.agreement import Agreement, pieces
from parley_asr.batching import Batcher
from parley_runtime.errors import EngineError

pytestmark = pytest.mark.unit


def test_what_two_in_a_row_agree_on_is_certain() -> None:
    agreement = Agreement()
    agreement.update(pieces(" the cat"))
    assert agreement.certain == []
    agreement.update(pieces(" the cat sat"))
    assert agreement.certain == [" the", " cat"]
    assert agreement.update(pieces(" a cat sat on")) == [" the", " cat", " sat", " on"]
    assert agreement.certain == [" the", " cat", " sat"]
    assert "".join(agreement.finish(pieces(" the cat sat on mats"))) == " the cat sat on mats"


def test_pieces_of_chinese_and_english() -> None:
    assert pieces("今天 the 水温") == ["今", "天", " the", " 水", "温"]


@given(st.lists(st.lists(st.sampled_from([" a", " b", " c"]), max_size=6), max_size=8))
def test_what_is_certain_stays(hypotheses: list[list[str]]) -> None:
    agreement = Agreement()
    certain: list[str] = []
    for hypothesis in hypotheses:
        whole = agreement.update(hypothesis)
        assert agreement.certain[: len(certain)] == certain
        certain = list(agreement.certain)
        assert whole[: len(certain)] == certain
    assert agreement.finish([])[: len(certain)] == certain


def test_a_batch_holds_who_waits_and_no_more_than_it_may() -> None:
    sizes: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def run(items: object) -> list[int]:
        assert isinstance(items, list)
        sizes.append(len(items))
        entered.set()
        go.wait(5)
        return [item * 2 for item in items]

    batcher: Batcher[int, int] = Batcher(run, most=3, wait_s=0.0, name="test")
    found: dict[int, int] = {}
    threads = [threading.Thread(target=lambda one=one: found.__setitem__(one, batcher.ask(one))) for one in range(6)]
    threads[0].start()
    entered.wait(5)
    for thread in threads[1:]:
        thread.start()
    while batcher._asked.qsize() < 5:
        pass
    go.set()
    for thread in threads:
        thread.join(5)
    assert found == {one: one * 2 for one in range(6)}
    assert (sizes[0], max(sizes), sum(sizes), batcher.largest) == (1, 3, 6, 3)
    batcher.close()
    with pytest.raises(EngineError):
        batcher.ask(1)


def test_what_a_batch_raises_is_raised_for_each() -> None:
    def run(items: object) -> list[int]:
        raise EngineError("broken")

    batcher: Batcher[int, int] = Batcher(run, most=3, wait_s=0.0, name="test")
    with pytest.raises(EngineError, match="broken"):
        batcher.ask(1)
    batcher.close()


def test_nobody_waits_for_company_once_all_who_are_present_have_asked() -> None:
    sizes: list[int] = []

    def run(items: object) -> list[int]:
        assert isinstance(items, list)
        sizes.append(len(items))
        return list(items)

    batcher: Batcher[int, int] = Batcher(run, most=16, wait_s=600.0, name="test")
    found: list[int] = []

    def ask(*numbers: int) -> None:
        threads = [
            threading.Thread(target=lambda one=one: found.append(batcher.ask(one)), daemon=True) for one in numbers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)

    batcher.enter()
    ask(1)
    batcher.enter()
    ask(2, 3)
    batcher.leave()
    ask(4)
    assert (sorted(found), sizes) == ([1, 2, 3, 4], [1, 2, 1])
    batcher.close()
