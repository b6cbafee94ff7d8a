"""Files that are sent where samples are expected."""

import io
import wave

import pytest

from parley_gateway.voice.files import samples_alone
from parley_protocol.audio import Hearing
from parley_protocol.faults import FaultCode, ProtocolError

pytestmark = pytest.mark.unit

SAMPLES = bytes(range(1, 201))


def wav(rate: int = 16_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(SAMPLES)
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["pcm_s16le", "opus"])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"OggS\x00\x02" + bytes(40), "Ogg"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86" + bytes(40), "WebM"),
        (b"fLaC\x00\x00\x00\x22", "FLAC"),
        (b"ID3\x04\x00", "MP3"),
        (b"\x00\x00\x00\x1cftypM4A ", "MP4"),
    ],
)
def test_other_files_are_named_and_refused(encoding: str, data: bytes, kind: str) -> None:
    with pytest.raises(ProtocolError, match=f"an? {kind} file.*pcm_s16le.*opus") as refused:
        samples_alone(data, Hearing(encoding=encoding))
    assert refused.value.code is FaultCode.INVALID


def test_of_a_wav_file_the_samples_are_heard() -> None:
    assert samples_alone(wav(), Hearing()) == SAMPLES
    with pytest.raises(ProtocolError, match="WAV"):
        samples_alone(wav(), Hearing(encoding="opus"))


@pytest.mark.parametrize("other", [{"rate": 44_100}, {"channels": 2}])
def test_a_wav_file_of_another_format_is_no_noise_but_an_error(other: dict[str, int]) -> None:
    with pytest.raises(ProtocolError, match="16000 Hz with 1 channel, and was ended") as refused:
        samples_alone(wav(**other), Hearing())
    assert refused.value.code is FaultCode.INVALID
    with pytest.raises(ProtocolError, match="24 bits"):
        samples_alone(wav(width=3), Hearing())


@pytest.mark.parametrize("data", [b"", b"R", SAMPLES, b"RIFF" + bytes(60), wav()[:20]])
def test_everything_else_is_left_as_it_is(data: bytes) -> None:
    assert samples_alone(data, Hearing()) == data
