"""Something said as one recording: a WAV file or raw PCM, heard as a whole."""

import asyncio

from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.voice.events import HearingEvent, Listening
from parley_gateway.voice.words import join
from parley_protocol.audio import Ended, Failed, Heard, Hearing
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId

PIECE = 64_000
"""Bytes handed over at a time."""
WORK_S = 30.0
"""Longest time for a recording to be heard."""
_ENCODINGS = {(1, 16): "pcm_s16le", (3, 32): "pcm_f32le", (7, 8): "pcm_mulaw"}
"""By the format tag of a WAV file, and bits of a sample."""
_EXTENSIBLE = 0xFFFE


class NobodyListens(ProtocolError):
    """No worker took the recording."""


def read_recording(data: bytes, rate: int | None) -> tuple[Hearing, bytes]:
    """How ``data`` is to be heard, and its audio: a WAV file says so itself, else it is PCM s16le of ``rate`` (16,000
    where that is None). Raises ProtocolError ``invalid`` or ``unsupported``.
    """
    if data[:4] == b"RIFF":
        return _read_wav(data)
    if rate is not None and not 8000 <= rate <= 48_000:
        raise ProtocolError(FaultCode.INVALID, "sample_rate must be 8000 to 48000")
    if len(data) % 2:
        raise ProtocolError(FaultCode.INVALID, "PCM s16le has two bytes for each sample; this has an odd number")
    return Hearing(rate=rate or 16_000, partials=False), data


def _read_wav(data: bytes) -> tuple[Hearing, bytes]:
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


class _Listener:
    def __init__(self) -> None:
        self.listening = False
        self.text: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pieces: list[str] = []

    def on_hearing(self, event: HearingEvent) -> None:
        match event:
            case Listening():
                self.listening = True
            case Heard():
                self._pieces.append(event.text)
            case Ended() if not self.text.done():
                self.text.set_result(join(*self._pieces))
            case Failed() if not self.text.done():
                kind = ProtocolError if self.listening else NobodyListens
                self.text.set_exception(kind(FaultCode.UNAVAILABLE, event.fault.message))
            case _:
                pass


async def transcribe(
    hub: Hub, identity: Identity, session: SessionId, hearing: Hearing, audio: bytes, *, kb: str = ""
) -> str:
    """The words of a recording; empty where none are in it.

    Raises:
        NobodyListens: no worker took it in time, or none that can hear it.
        ProtocolError: what is wrong with it, or why it was not heard to its end.
    """
    listener = _Listener()
    ear = hub.ears.open(identity, session, hearing, listener, kb=kb)
    try:
        for at in range(0, len(audio), PIECE):
            ear.feed(audio[at : at + PIECE])
        ear.end()
        async with asyncio.timeout(WORK_S):
            return await listener.text
    except TimeoutError:
        raise ProtocolError(FaultCode.UNAVAILABLE, "this was not heard in time; say it again, or shorter") from None
    finally:
        ear.drop()
        listener.text.cancel()
