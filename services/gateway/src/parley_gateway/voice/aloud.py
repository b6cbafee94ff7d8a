"""A spoken answer as WAV files, for clients that play files."""

from collections.abc import Callable
from dataclasses import replace

from parley_gateway.core.session import Session
from parley_gateway.hub import Hub
from parley_gateway.voice.mouth import AudioChunk, Mouth
from parley_protocol.client import Voice
from parley_protocol.events import Fault
from parley_protocol.ids import TurnId

MOST_PCM = 480_000
"""Bytes of PCM in one file: as base64 in JSON it stays below 900 KiB."""
AT_ONCE_S = 3600.0
RATE = 24_000

Told = Callable[[bytes, bool], None]
"""(a WAV file, whether it is the last one). The last one may be empty: there is no more."""


class Aloud:
    """One answer, a file for each sentence. ``told`` is called on the loop; ``over`` after the last one, with the fault
    where not all could be spoken.
    """

    def __init__(
        self,
        hub: Hub,
        session: Session,
        turn: TurnId,
        *,
        told: Told,
        over: Callable[[Fault | None], None],
        room: Callable[[], bool],
    ) -> None:
        """``room``: whether more is taken; while it is not, what is spoken waits, and little more is asked for."""
        settings = replace(hub.settings.mouths, lead_s=AT_ONCE_S)
        self._told = told
        self._over = over
        self._sentence = -1
        self._pcm = bytearray()
        self._mouth: Mouth = hub.mouths.open(session, Voice(rate=RATE), self, settings=settings, room=room)
        self._mouth.say(turn)

    def close(self) -> None:
        """Nobody listens any more."""
        self._mouth.close()

    def on_audio(self, chunk: AudioChunk) -> None:
        """See :class:`parley_gateway.voice.mouth.Speaks`, as the next two."""
        if self._pcm and (chunk.sentence != self._sentence or len(self._pcm) + len(chunk.pcm) > MOST_PCM):
            self._flush(last=False)
        self._sentence = chunk.sentence
        self._pcm += chunk.pcm

    def on_flush(self, turn: TurnId, ms: int, ended: bool) -> None:  # noqa: ARG002 - of a Speaks
        """What was told is told; an answer that starts anew goes on with its own words."""
        self._pcm.clear()
        if ended:
            self._over(None)

    def on_spoken(self, turn: TurnId, ms: int, fault: Fault | None) -> None:  # noqa: ARG002 - of a Speaks
        self._flush(last=True)
        self._over(fault)

    def _flush(self, *, last: bool) -> None:
        pcm = bytes(self._pcm)
        self._pcm.clear()
        self._told(wav(pcm, RATE) if pcm else b"", last)


def wav(pcm: bytes, rate: int) -> bytes:
    """PCM, 16 bits, mono, as a WAV file."""
    head = b"WAVEfmt " + (16).to_bytes(4, "little") + (1).to_bytes(2, "little") + (1).to_bytes(2, "little")
    head += rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little")
    head += (2).to_bytes(2, "little") + (16).to_bytes(2, "little") + b"data" + len(pcm).to_bytes(4, "little")
    return b"RIFF" + (len(head) + len(pcm)).to_bytes(4, "little") + head + pcm
