"""The resume cursor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_protocol.faults import ProtocolError
from parley_protocol.position import (
    MAX_POSITION,
    Position,
    TextCheck,
    decode_position,
    encode_position,
    text_check,
)

pytestmark = pytest.mark.unit

COUNT = st.integers(0, 2**40)


@given(st.text(max_size=64), COUNT, COUNT, COUNT, COUNT, st.integers(0, 2**64 - 1), st.booleans())
def test_positions_come_back(turn: str, seq: int, fence: int, n: int, at: int, check: int, done: bool) -> None:
    position = Position(turn, seq, fence, n, at, check, done)
    text = encode_position(position)
    assert decode_position(text) == position
    assert len(text) <= MAX_POSITION
    assert not set(text) & set("+/= ")


@given(st.lists(st.text()))
def test_feeding_parts_equals_feeding_the_whole(parts: list[str]) -> None:
    check = TextCheck()
    for part in parts:
        check.feed(part)
    assert check.value() == text_check("".join(parts))


def test_the_hash_is_blake2b_of_utf8() -> None:
    # Digest of the empty input by coreutils: b2sum -l 64 /dev/null
    assert text_check("") == 0xE4A6A0577479B2B4


@pytest.mark.parametrize("text", ["", "!!", "AAAA", "é", "x" * 513, "kQ", " "])
def test_foreign_positions_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_position(text)


@given(st.text(max_size=60))
def test_random_text_is_a_position_or_refused(text: str) -> None:
    try:
        decode_position(text)
    except ProtocolError as error:
        assert error.code == "bad_frame"
