"""Saying a turn: audio in pieces, then its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parley_client.errors import ClientError, Disconnected
from parley_client.turn import Turn
from parley_protocol.client import AudioStop, ClientFrame
from parley_protocol.speech import AnswerAudio, decode_audio

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from parley_client.connection import Chat
    from parley_client.link import Link

_GONE = "the connection was lost while the turn was being said; say it again"


class Line:
    """A connection on which something is being said. When it is gone, what is put here goes nowhere."""

    def __init__(self, link: Link, socket: ClientConnection, *, binary: bool) -> None:
        self._link = link
        self._socket = socket
        self._binary = binary

    async def say(self, audio: bytes) -> None:
        """More of it."""
        await self.put(msgspec.msgpack.encode(audio) if self._binary else audio)

    async def put(self, frame: ClientFrame | bytes) -> None:
        """Anything else about it."""
        await self._link.put(self._socket, frame)


class Speech:
    """Made by :meth:`Chat.speak`. ``turn`` tells transcripts while one speaks, and the answer afterwards.

    What is being said belongs to its connection: if that is lost before :meth:`stop`, the turn fails with TurnLost.
    """

    def __init__(self, chat: Chat, turn: Turn, line: Line) -> None:
        self.turn = turn
        self._chat = chat
        self._line = line
        self._stopped = False

    async def send(self, audio: bytes) -> None:
        """More audio, as fast as it is spoken (with ``opus``: one packet).

        Raises:
            TurnRefused, TurnLost: it is of no use any more.
        """
        self.turn.check()
        if self._stopped:
            raise ClientError("this turn has been said to its end; begin another")
        await self._line.say(audio)

    async def stop(self) -> Turn:
        """That was all. Returns when the server has heard it and accepted the turn.

        Raises:
            TurnRefused: ``no_speech`` (nothing was heard), ``overloaded`` (nobody is free to listen), ...
            TurnLost: the connection went before this.
        """
        self.turn.check()
        if not self._stopped:
            self._stopped = True
            self._chat.said(self.turn)
            await self._line.put(AudioStop())
        await self.turn.taken.wait()
        self.turn.check()
        return self.turn


def is_audio(data: str | bytes, *, binary: bool) -> bool:
    """Whether a message of the server is audio. ``binary``: of a MessagePack socket, where only audio is a ``bin``."""
    return isinstance(data, bytes) and (not binary or data[:1] in (b"\xc4", b"\xc5", b"\xc6"))


def read_audio(data: bytes, *, binary: bool) -> tuple[AnswerAudio, bytes]:
    """Header and PCM. Raises ProtocolError."""
    return decode_audio(msgspec.msgpack.decode(data, type=bytes) if binary else data)


def gone() -> Disconnected:
    """There is no connection to speak on."""
    return Disconnected(_GONE)
