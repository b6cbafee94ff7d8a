"""Hostile and random input to the decoders: a clear ProtocolError or a frame, never anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley_protocol import client, codec, events
from parley_protocol.faults import CloseCode, FaultCode, ProtocolError
from parley_protocol.ids import TurnKey

pytestmark = pytest.mark.unit

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", FaultCode.BAD_FRAME, "truncated"),
        ("", FaultCode.BAD_FRAME, "truncated"),
        ("[]", FaultCode.BAD_FRAME, "Expected `object`"),
        ('{"turn": "a"}', FaultCode.BAD_FRAME, "missing required field `type`"),
        ('{"type": "turn.begin"}', FaultCode.UNKNOWN_TYPE, "turn.begin"),
        ('{"type": "turn.start", "turn": "a"}', FaultCode.BAD_FRAME, "missing required field `text`"),
        ('{"type": "turn.start", "turn": 1, "text": "b"}', FaultCode.BAD_FRAME, "$.turn"),
        ('{"type": "hello", "position": 7}', FaultCode.BAD_FRAME, "$.position"),
        ("[" * 100_000, FaultCode.BAD_FRAME, "Expected `object`"),
        ('{"type": "ping", "x": ' + "[" * 100_000, FaultCode.BAD_FRAME, "nested too deeply"),
        (
            '{"type": "turn.start", "turn": "a", "text": "b", "context": ' + '{"a":' * 100_000,
            FaultCode.BAD_FRAME,
            "deep",
        ),
        ('{"type": "ping"} {"type": "ping"}', FaultCode.BAD_FRAME, "trailing"),
        ('{"type": "ping", "x": "\\ud800"}', FaultCode.BAD_FRAME, "cannot be decoded"),
    ],
)
def test_wrong_frames_name_what_is_wrong(text: str, code: FaultCode, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_client(text)
    assert caught.value.code is code
    assert words in str(caught.value)


def test_messages_about_wrong_frames_are_short() -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_client('{"type": "' + "x" * 100_000 + '"}')
    assert len(str(caught.value)) < 300


@given(JSON_VALUES)
def test_random_json_is_a_frame_or_a_protocol_error(value: object) -> None:
    import json

    try:
        frame = codec.decode_client(json.dumps(value))
    except ProtocolError as error:
        assert error.code in (FaultCode.BAD_FRAME, FaultCode.UNKNOWN_TYPE)
    else:
        assert isinstance(frame, client.ClientFrame)


@given(st.binary(max_size=200))
def test_random_bytes_never_escape_the_decoders(data: bytes) -> None:
    for reader in (codec.decode_client, codec.unpack_job, codec.unpack_gateway, codec.unpack_control):
        try:
            reader(data)
        except ProtocolError as error:
            assert error.code in (FaultCode.BAD_FRAME, FaultCode.UNKNOWN_TYPE)


@given(
    turn=st.text(min_size=1, max_size=64),
    text=st.text(max_size=200),
    kb=st.none() | st.text(max_size=20),
    interrupt=st.booleans(),
)
def test_both_encodings_say_the_same(turn: str, text: str, kb: str | None, interrupt: bool) -> None:
    frame = client.TurnStart(turn=turn, text=text, kb=kb, interrupt=interrupt)
    assert codec.decode_client(codec.encode_json(frame)) == frame
    assert codec.decode_client(codec.encode_pack(frame)) == frame


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 99), st.text(min_size=1)), max_size=5)),
        max_size=8,
    )
)
def test_batches_come_back_whole_and_in_order(rows: list[tuple[int, list[tuple[int, str]]]]) -> None:
    batch = events.Batch(
        tuple(
            events.TurnEvents(TurnKey("t", "s", str(i)), fence, tuple(events.Delta(n, n, text) for n, text in items))
            for i, (fence, items) in enumerate(rows)
        )
    )
    assert codec.unpack_gateway(codec.pack(batch)) == batch


def test_close_code_ranges_tell_a_client_what_to_do() -> None:
    assert {code.name for code in CloseCode if code.resumable} == {
        "DRAINING",
        "SLOW_CLIENT",
        "NO_HEARTBEAT",
        "OVERLOADED",
    }
