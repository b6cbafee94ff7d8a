"""The binary frame of a spoken answer."""

import pytest

from parley_protocol.faults import ProtocolError
from parley_protocol.speech import AnswerAudio, decode_audio, encode_audio

pytestmark = pytest.mark.unit

HEADER = AnswerAudio(turn="t-1", sentence=2, at=4800, rate=24_000)


def test_a_frame_is_a_length_a_header_and_the_samples() -> None:
    head = b'{"turn":"t-1","sentence":2,"at":4800,"rate":24000}'
    assert encode_audio(HEADER, b"\x01\x00") == b"\x00\x32" + head + b"\x01\x00"


@pytest.mark.parametrize("pcm", [b"", b"\x00\x80", bytes(range(256)) * 40])
def test_what_is_written_is_read(pcm: bytes) -> None:
    assert decode_audio(encode_audio(HEADER, pcm)) == (HEADER, pcm)


@pytest.mark.parametrize("frame", [b"", b"\x00", b"\x00\x02{", b"\xff\xff{}", b"\x00\x02[]"])
def test_anything_else_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"answer\.audio"):
        decode_audio(frame)
