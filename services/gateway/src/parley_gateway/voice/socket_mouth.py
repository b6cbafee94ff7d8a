"""What a native socket is sent of a spoken answer."""

from typing import Protocol

import msgspec

from parley_gateway.voice.mouth import AudioChunk
from parley_gateway.wire import Binary
from parley_protocol.client import AnswerFlush, AnswerSpoken, ServerFrame
from parley_protocol.events import Fault
from parley_protocol.ids import TurnId
from parley_protocol.speech import AnswerAudio, encode_audio

_pack = msgspec.msgpack.Encoder()


class Out(Protocol):
    """An outbox."""

    def push(self, frame: ServerFrame) -> object: ...
    def push_audio(self, payload: Binary) -> None: ...


class SocketMouth:
    """Audio as binary frames, in the outbox with everything else: in order, and bounded with it."""

    def __init__(self, out: Out, *, text: bool) -> None:
        self._out = out
        self._text = text

    def on_audio(self, chunk: AudioChunk) -> None:
        """See :class:`parley_gateway.voice.mouth.Speaks`, as the next two."""
        header = AnswerAudio(turn=chunk.turn, sentence=chunk.sentence, at=chunk.at_samples, rate=chunk.rate)
        frame = encode_audio(header, chunk.pcm)
        self._out.push_audio(Binary(frame if self._text else _pack.encode(frame)))

    def on_flush(self, turn: TurnId, ms: int, ended: bool) -> None:
        self._out.push(AnswerFlush(turn=turn, ms=ms, ended=ended))

    def on_spoken(self, turn: TurnId, ms: int, fault: Fault | None) -> None:
        self._out.push(AnswerSpoken(turn=turn, ms=ms, fault=fault))
