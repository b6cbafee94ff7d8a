"""Something said as one recording: a WAV file or raw PCM, heard as a whole."""

import asyncio

from parley_gateway.hub import Hub
from parley_gateway.identity import Identity
from parley_gateway.voice.events import HearingEvent, Listening
from parley_gateway.voice.files import read_wav
from parley_gateway.voice.words import join
from parley_protocol.audio import Ended, Failed, Heard, Hearing
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId

PIECE = 64_000
"""Bytes handed over at a time."""
WORK_S = 30.0
"""Longest time for a recording to be heard."""


class NobodyListens(ProtocolError):
    """No worker took the recording."""


def read_recording(data: bytes, rate: int | None) -> tuple[Hearing, bytes]:
    """How ``data`` is to be heard, and its audio: a WAV file says so itself, else it is PCM s16le of ``rate`` (16,000
    where that is None). Raises ProtocolError ``invalid`` or ``unsupported``.
    """
    if data[:4] == b"RIFF":
        return read_wav(data)
    if rate is not None and not 8000 <= rate <= 48_000:
        raise ProtocolError(FaultCode.INVALID, "sample_rate must be 8000 to 48000")
    if len(data) % 2:
        raise ProtocolError(FaultCode.INVALID, "PCM s16le has two bytes for each sample; this has an odd number")
    return Hearing(rate=rate or 16_000, partials=False), data


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
