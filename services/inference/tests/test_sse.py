"""Server-sent events, wherever the network cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_inference.sse import MAX_EVENT, EventTooLarge, SseReader

pytestmark = pytest.mark.unit


def _all(*chunks: bytes) -> list[str]:
    reader = SseReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)]
    last = reader.end()
    return events if last is None else [*events, last]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data:a\n\n", ["a"]),
        (b"data:  a\n\n", [" a"]),
        (b"data\n\n", [""]),
        (b": comment\n\n", []),
        (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"\n\n\ndata: a\n\n\n\n", ["a"]),
        (b"data: no blank line", ["no blank line"]),
        (b"data: a\n", ["a"]),
        ("data: x\u2028y\u0085z\x0b\x0c\n\n".encode(), ["x\u2028y\u0085z\x0b\x0c"]),
        (b"", []),
    ],
)
def test_events(raw: bytes, events: list[str]) -> None:
    assert _all(raw) == events
    assert _all(*(raw[i : i + 1] for i in range(len(raw)))) == events


@given(
    st.lists(st.text(alphabet=st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(0, 200), max_size=5),
)
def test_any_cut_gives_the_same_events(texts: list[str], end: str, cuts: list[int]) -> None:
    raw = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunks = [raw[start:stop] for start, stop in pairwise(places)]
    assert _all(*chunks) == texts


@pytest.mark.parametrize(
    "raw", [b"data: " + b"x" * (MAX_EVENT + 1), b"data: " + b"data: xxxxxxxxxxx\n" * (MAX_EVENT // 10)]
)
def test_an_event_is_bounded(raw: bytes) -> None:
    with pytest.raises(EventTooLarge):
        SseReader().feed(raw)
