"""What a student says aloud: heard, told, answered, and the answer spoken."""

import asyncio
import base64
import binascii
import contextlib
import secrets
from dataclasses import dataclass

from parley_gateway.dialects import tutor_frames as frames
from parley_gateway.dialects.socket import DialectSocket
from parley_gateway.dialects.talk import Answered, Question, answer
from parley_gateway.voice.aloud import Aloud
from parley_gateway.voice.recording import NobodyListens, read_recording, transcribe
from parley_protocol.events import Fault
from parley_protocol.faults import FaultCode, ProtocolError
from parley_protocol.ids import SessionId, TurnId

SPEAK_S = 120.0
"""Longest time for an answer to be spoken, once it is there."""


def recorded(frame: frames.Heard) -> bytes:
    """The audio of a frame. Raises ProtocolError ``invalid``."""
    try:
        return base64.b64decode(frame.content, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(
            FaultCode.INVALID, "content is not base64; send a WAV file or PCM s16le as base64"
        ) from None


async def converse(socket: DialectSocket, session: SessionId, kb: str | None, frame: frames.Heard) -> None:
    """``transcript``, ``text``, then ``audio`` until one is final. What goes wrong is one ``error``."""
    try:
        hearing, audio = read_recording(recorded(frame), frame.sample_rate)
        text = await transcribe(socket.hub, socket.identity, session, hearing, audio, kb=kb or "")
    except NobodyListens:
        socket.send("error", frames.error(frames.NO_EARS))
        return
    except ProtocolError as error:
        socket.send("error", frames.error(str(error)))
        return
    if not text:
        socket.send("error", frames.error(frames.NO_WORDS))
        return
    socket.send("transcript", {"type": "transcript", "content": text})
    await _Spoken(socket, session, kb).ask(text)


@dataclass(frozen=True, slots=True)
class _Over:
    """No file follows."""

    fault: Fault | None


class _Spoken:
    """One question with a spoken answer. Sound waits for the text that it says."""

    def __init__(self, socket: DialectSocket, session: SessionId, kb: str | None) -> None:
        self._socket = socket
        self._session = session
        self._kb = kb
        self._turn = TurnId(f"v{secrets.token_hex(10)}")
        self._files: asyncio.Queue[tuple[bytes, bool] | _Over] = asyncio.Queue()
        self._aloud: Aloud | None = None

    async def ask(self, text: str) -> None:
        socket = self._socket
        question = Question(text=text, session=self._session, kb=self._kb, turn=self._turn)
        try:
            outcome = await answer(socket.hub, socket.identity, question, accepted=self._speak)
            if not isinstance(outcome, Answered):
                socket.send("error", frames.error(outcome.message, outcome.retry_after_ms))
                return
            socket.send("text", frames.answer(outcome.done.text))
            await self._spoken()
        finally:
            if self._aloud is not None:
                self._aloud.close()

    async def _spoken(self) -> None:
        fault: Fault | None = Fault(FaultCode.EXPIRED.value, "it took too long", True)
        if self._aloud is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SPEAK_S):
                    fault = await self._send()
        if fault is not None:
            self._socket.send("error", frames.error(frames.NO_VOICE))

    async def _send(self) -> Fault | None:
        """File by file, as the socket takes them."""
        index = 0
        while not isinstance(each := await self._files.get(), _Over):
            await self._socket.room()
            content = base64.b64encode(each[0]).decode()
            self._socket.send("audio", {"type": "audio", "content": content, "index": index, "final": each[1]})
            index += 1
        return each.fault

    def _speak(self) -> None:
        held = self._socket.hub.registry.sessions.get(self._session)
        if held is not None and self._aloud is None:
            self._aloud = Aloud(
                self._socket.hub,
                held,
                self._turn,
                told=lambda file, last: self._files.put_nowait((file, last)),
                over=lambda fault: self._files.put_nowait(_Over(fault)),
                room=self._files.empty,
            )
