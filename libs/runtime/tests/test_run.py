"""Output of a run: numbers, coalescing, prefix comparison, snapshots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_protocol.events import Delta, Event, Marks, Refusal, Retrieval, Snapshot, Source, Status, Transcript
from parley_runtime.run import MAX_DELTA, Output

pytestmark = pytest.mark.unit

SOURCE = Source("1", "a.md", "A", 0.5, "text", 0, 4)


def test_items_are_numbered_on_from_the_job() -> None:
    output = Output(7, Marks(status="routing"))
    output.status("retrieving")
    output.retrieval("question", "search", [SOURCE])
    output.transcript("hello", True)
    assert output.delta("Hi")
    assert output.take() == (
        Status(7, "retrieving"),
        Retrieval(8, "question", "search", (SOURCE,)),
        Transcript(9, "hello", True),
        Delta(10, 0, "Hi"),
    )
    assert output.n == 11
    assert output.marks == Marks("retrieving", "hello", Retrieval(8, "question", "search", (SOURCE,)))
    assert output.take() == ()


def test_only_the_first_text_is_urgent_and_later_text_merges_until_it_is_taken() -> None:
    output = Output()
    assert [output.delta(part) for part in ("a", "b", "c")] == [True, False, False]
    assert output.n == 1
    assert output.take() == (Delta(0, 0, "abc"),)
    assert not output.delta("d")
    assert not output.delta("e")
    assert output.take() == (Delta(1, 3, "de"),)
    assert (output.n, output.text, output.at) == (2, "abcde", 5)


def test_a_mark_ends_a_delta() -> None:
    output = Output()
    output.delta("a")
    output.status("generating")
    output.delta("b")
    assert output.take() == (Delta(0, 0, "a"), Status(1, "generating"), Delta(2, 1, "b"))


def test_merging_stops_at_its_bound() -> None:
    output = Output()
    half = "x" * (MAX_DELTA // 2)
    for _ in range(3):
        output.delta(half)
    assert [(item.n, item.at, len(item.text)) for item in output.take() if isinstance(item, Delta)] == [
        (0, 0, MAX_DELTA),
        (1, MAX_DELTA, MAX_DELTA // 2),
    ]


def test_offsets_count_code_points() -> None:
    output = Output()
    output.delta("水温")
    output.take()
    output.delta("𝒳")
    assert output.take() == (Delta(1, 2, "𝒳"),)


def test_a_repeated_run_begins_with_a_snapshot_even_without_a_prefix() -> None:
    output = Output(3, Marks(status="retrieving"), replaces=True)
    assert output.take() == (Snapshot(3, Marks(status="retrieving"), None),)
    assert output.delta("Fresh")
    assert output.take() == (Snapshot(4, Marks(status="retrieving"), "Fresh"),)
    assert not output.delta(" text")
    assert output.take() == (Delta(4, 5, " text"),)


def repeated(prefix: str, *parts: str) -> tuple[Output, list[Event]]:
    output = Output(replaces=True, prefix=prefix)
    assert output.take() == (Snapshot(0, Marks(), None),)
    items: list[Event] = []
    for part in parts:
        output.delta(part)
        items.extend(output.take())
    return output, items


@pytest.mark.parametrize(
    ("prefix", "parts", "items"),
    [
        ("Hello", ["He"], []),
        ("Hello", ["He", "ll"], []),
        ("Hello", ["He", "llo"], [Snapshot(1, Marks(), "Hello")]),
        ("Hello", ["He", "llo you"], [Snapshot(1, Marks(), "Hello you")]),
        ("Hello", ["Hello", " you"], [Snapshot(1, Marks(), "Hello"), Delta(1, 5, " you")]),
        ("Hello", ["Ha"], [Snapshot(1, Marks(), "Ha")]),
        ("Hello", ["He", "y", "!"], [Snapshot(1, Marks(), "Hey"), Delta(1, 3, "!")]),
        ("Hello", ["Hell", "xyz"], [Snapshot(1, Marks(), "Hellxyz")]),
    ],
)
def test_text_is_held_back_while_it_repeats_the_prefix(prefix: str, parts: list[str], items: list[Event]) -> None:
    output, sent = repeated(prefix, *parts)
    assert sent == items
    assert output.text == "".join(parts)


def test_an_answer_that_ends_within_the_prefix_is_another_answer() -> None:
    output, sent = repeated("Hello", "He")
    assert sent == []
    assert output.comparing
    output.finish()
    assert output.take() == (Snapshot(1, Marks(), "He"),)


def test_nothing_is_known_of_a_text_that_is_held_back() -> None:
    output, _ = repeated("Hello", "He")
    assert output.snapshot() == Snapshot(0, Marks(), None)


def test_a_snapshot_stands_for_what_was_taken_before_it() -> None:
    output = Output()
    output.delta("Hello")
    output.take()
    assert output.snapshot() == Snapshot(1, Marks(), "Hello")
    output.ending = True
    assert output.snapshot().ending


def test_a_higher_fence_replaces_what_was_not_sent_by_one_snapshot() -> None:
    output = Output()
    output.delta("Hello")
    output.take()
    output.status("late")
    output.delta(" you")
    output.refence()
    assert output.take() == (Snapshot(3, Marks(status="late"), "Hello you"),)
    output.delta("!")
    assert output.take() == (Delta(3, 9, "!"),)


class Reader:
    """A gateway's rules for one fence: numbers without gaps, a snapshot replaces, text never loses its place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.n: int | None = None

    def read(self, items: tuple[Event, ...]) -> None:
        for item in items:
            if isinstance(item, Snapshot):
                assert self.n is None or item.n >= self.n
                self.n = item.n
                if item.text is not None:
                    self.text = item.text
                continue
            assert not isinstance(item, Delta) or item.at == len(self.text)
            assert not isinstance(item, Refusal)
            assert self.n is not None
            assert item.n == self.n
            self.n += 1
            if isinstance(item, Delta):
                self.text += item.text


words = st.lists(st.sampled_from(["a", "b", "ab", "|", "?"]), max_size=12)


@given(prefix=st.text(alphabet="ab", max_size=6), script=words, replaces=st.booleans())
def test_whoever_reads_every_item_ends_with_the_text(prefix: str, script: list[str], replaces: bool) -> None:
    """``|`` takes the items, ``?`` is a mark; the reader starts with the prefix where the run repeats another."""
    output = Output(replaces=replaces, prefix=prefix if replaces else "")
    reader = Reader(prefix if replaces else "")
    reader.n = None if replaces else 0
    for part in script:
        if part == "|":
            reader.read(output.take())
        elif part == "?":
            output.status("x")
        else:
            output.delta(part)
    output.finish()
    reader.read(output.take())
    expected = "".join(part for part in script if part not in {"|", "?"})
    assert output.text == expected
    assert reader.n == output.n
    if expected:
        assert reader.text == expected
