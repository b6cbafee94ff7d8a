"""Files of audio, where samples are expected. Pure."""

from parley_gateway.voice.meter import OPUS, WIDTHS
from parley_protocol.audio import Hearing
from parley_protocol.faults import FaultCode, ProtocolError

_ENCODINGS = {(1, 16): "pcm_s16le", (3, 32): "pcm_f32le", (7, 8): "pcm_mulaw"}
"""By the format tag of a WAV file, and bits of a sample."""
_EXTENSIBLE = 0xFFFE
_OTHERS = (
    (0, b"OggS", "an Ogg file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM file"),
    (0, b"fLaC", "a FLAC file"),
    (0, b"ID3\x03", "an MP3 file"),
    (0, b"ID3\x04", "an MP3 file"),
    (4, b"ftyp", "an MP4 file"),
)
"""Where in its first bytes a kind of file names itself."""


def read_wav(data: bytes) -> tuple[Hearing, bytes]:
    """How a WAV file is to be heard, and its audio. Raises ProtocolError ``invalid`` or ``unsupported``."""
    if data[8:12] != b"WAVE":
        raise ProtocolError(FaultCode.INVALID, "a RIFF file that is no WAV file; send WAV, or PCM s16le")
    at, format_ = 12, b""
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"fmt ":
            format_ = data[at + 8 : at + 8 + min(size, 40)]
        elif name == b"data":
            if len(format_) < 16:
                break
            # Whoever writes to a stream does not know the size beforehand.
            return _hearing(format_), data[at + 8 : at + 8 + size] if size else data[at + 8 :]
        at += 8 + size + size % 2
    raise ProtocolError(FaultCode.INVALID, "the WAV file is cut off before its audio")


def _hearing(format_: bytes) -> Hearing:
    tag, bits = int.from_bytes(format_[:2], "little"), int.from_bytes(format_[14:16], "little")
    if tag == _EXTENSIBLE and len(format_) >= 26:
        tag = int.from_bytes(format_[24:26], "little")
    encoding = _ENCODINGS.get((tag, bits))
    if encoding is None:
        raise ProtocolError(
            FaultCode.UNSUPPORTED, f"WAV of format {tag} with {bits} bits is not taken; send PCM with 16 bits"
        )
    rate, channels = int.from_bytes(format_[4:8], "little"), int.from_bytes(format_[2:4], "little")
    return Hearing(encoding=encoding, rate=rate, channels=channels, partials=False)


def samples_alone(data: bytes, hearing: Hearing) -> bytes:
    """The first piece of a stream, without the header of a WAV file. Raises ProtocolError ``invalid`` where it is the
    beginning of a file that cannot be heard, or of one whose format is not the stream's.
    """
    for at, name, kind in _OTHERS:
        if data[at : at + len(name)] == name:
            raise _no_samples(kind)
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return data
    if hearing.encoding == OPUS:
        raise _no_samples("a WAV file")
    try:
        file, audio = read_wav(data)
    except ProtocolError as error:
        if error.code is FaultCode.UNSUPPORTED:
            raise
        return data  # its header goes on in the next piece, and is a click of a millisecond
    if _told(file) != _told(hearing):
        text = f"the WAV file is {_told(file)}, the stream {_told(hearing)}, and was ended; begin one like the file"
        raise ProtocolError(FaultCode.INVALID, text)
    return audio


def _told(hearing: Hearing) -> str:
    return f"{hearing.encoding} of {hearing.rate} Hz with {hearing.channels} channel{'s' * (hearing.channels > 1)}"


def _no_samples(kind: str) -> ProtocolError:
    text = f"this is {kind}, and the stream was ended; send samples as they are ({', '.join(WIDTHS)})"
    return ProtocolError(FaultCode.INVALID, f"{text}, or {OPUS} packets without a container")
