"""Talking hands free: a microphone that stays open, utterances that end by silence, answers that may be interrupted.

async with connect(url) as chat, talk(chat, voice=Voice()) as talking:
    asyncio.create_task(microphone(talking))  # which calls ``await talking.send(pcm)``
    async for event in talking:
        match event:
            case TranscriptFinal():
                print("you:", event.text)
            case Sound():
                player.play(event.pcm)
            case AnswerFlush():
                player.forget()
"""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from parley_client.connection import Chat
from parley_client.errors import ClientError
from parley_client.options import Sound as Told
from parley_client.speech import Line
from parley_client.turn import Turn, append
from parley_protocol.client import (
    AnswerFlush,
    AnswerSpoken,
    AudioFormat,
    AudioPlayed,
    AudioStart,
    AudioStop,
    Done,
    TurnFrame,
    Voice,
)
from parley_protocol.events import TurnStatus
from parley_protocol.speech import AnswerAudio

END_S = 2.0
"""Without a word after :meth:`Talk.stop` and the last answer: what was said then asked nothing."""
SPOKEN_S = 60.0
"""And where an answer is still to be spoken."""
UNREAD = 4000
"""Events of a talk that wait to be read: more than six minutes of an answer's audio."""
_UNREAD = f"{UNREAD} events of this talk were not read; iterate over it while you speak, and begin another"


@dataclass(frozen=True, slots=True)
class Sound:
    """Audio of an answer, 16 bits, mono: ``at`` samples into it."""

    turn: str
    at: int
    rate: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Unasked:
    """An utterance that was not asked, or whose answer cannot be had, and why."""

    turn: str
    error: ClientError


TalkEvent = TurnFrame | Told | Sound | Unasked


class _Part(Turn):
    """A turn that is read by the talk it belongs to."""

    def __init__(
        self,
        id: str,
        cancel: Callable[[str], Awaitable[None]],
        on_frame: Callable[[TurnFrame], None],
        on_failure: Callable[[str, ClientError], None],
    ) -> None:
        super().__init__(id, cancel)
        self._on_frame = on_frame
        self._on_failure = on_failure

    def feed(self, frame: TurnFrame) -> None:
        """See :class:`Turn`."""
        super().feed(frame)
        for each in self.take():
            self._on_frame(each)

    def fail(self, error: ClientError) -> None:
        """See :class:`Turn`."""
        if not self.finished:
            super().fail(error)
            self._on_failure(self.id, error)


class Talk:
    """One stream of speech. Made by :func:`talk`; iterate over it for everything that both sides say, in order.

    Each utterance is a turn of its own, ``<turn>.<k>``. Turns that have been accepted survive the connection, as all
    do; their answers are told, and spoken, to the end. The stream does not survive: :meth:`send` raises TurnLost
    then, and so does the iteration, once every accepted turn has been told and spoken. Begin another talk, and say
    again what had not been accepted. Of events that nobody reads :data:`UNREAD` are kept; the one after them ends the
    talk, and the iteration says so once they have been read.
    """

    def __init__(self, chat: Chat, stream: str, voice: Voice | None) -> None:
        self.turn = stream
        self.part = _Part(stream, chat.cancel, self._on_frame, self._on_failure)
        self.line: Line | None = None
        self._chat = chat
        self._voice = voice
        self._events: deque[TalkEvent] = deque()
        self._changed = asyncio.Event()
        self._seen: set[str] = set()
        self._open: set[str] = set()
        """Turns whose end has not been told."""
        self._sounding: set[str] = set()
        """Turns whose answers are being spoken, or will be."""
        self._stopped = False
        self._unread = False
        """More came than was read: the stream is ended here, and not by the server."""

    async def send(self, pcm: bytes) -> None:
        """More audio, as fast as it is spoken; silence too.

        Raises:
            TurnRefused: nobody can listen (any more).
            TurnLost: the connection is gone.
        """
        self.part.check()
        if self._stopped or self.line is None:
            raise ClientError("this talk has been stopped; begin another")
        await self.line.say(pcm)

    async def played(self, turn: str, ms: int) -> None:
        """Tell how much of an answer has been played, every second or so: what was heard of it is known to a word."""
        if self.line is not None:
            await self.line.put(AudioPlayed(turn=turn, ms=ms))

    async def stop(self) -> None:
        """That was all. What has been said is heard to its end, and the iteration ends after the last answer."""
        if not self._stopped and (self._unread or not self.part.finished) and self.line is not None:
            self._stopped = True
            await self.line.put(AudioStop())
            self._changed.set()

    async def __aiter__(self) -> AsyncIterator[TalkEvent]:
        """Raises what has ended the stream, if that was not :meth:`stop`."""
        while True:
            while self._events:
                yield self._events.popleft()
            if not self._open and not self._sounding:
                self.part.check()
            limit_s = None
            if (self._stopped or self.part.finished) and not self._open:
                limit_s = SPOKEN_S if self._sounding else END_S
            self._changed.clear()
            try:
                async with asyncio.timeout(limit_s):
                    await self._changed.wait()
            except TimeoutError:
                self.part.check()
                return

    # --- what the connection brings ---------------------------------------------------------------------------

    def join(self, id: str) -> Turn | None:
        """A turn that the connection is told of for the first time; None where it is none of this talk's."""
        if id.rpartition(".")[0] != self.turn or id in self._seen:
            return None
        self._seen.add(id)
        self._open.add(id)
        part = _Part(id, self._chat.cancel, self._on_frame, self._on_failure)
        if self._voice is not None:
            self._sounding.add(id)
            self._chat.aloud.want(part, self._voice)
        self._chat.limit(part, None)
        return part

    def on_audio(self, header: AnswerAudio, pcm: bytes) -> None:
        """Of any answer."""
        if header.turn in self._seen:
            self._put(Sound(header.turn, header.at, header.rate, pcm))

    def on_sound(self, sound: Told) -> None:
        """Of any turn."""
        if sound.turn.rpartition(".")[0] == self.turn:
            if isinstance(sound, AnswerSpoken) or (isinstance(sound, AnswerFlush) and sound.ended):
                self._sounding.discard(sound.turn)
            self._put(sound)

    def _on_frame(self, frame: TurnFrame) -> None:
        if isinstance(frame, Done):
            self._open.discard(frame.turn)
            if frame.status is not TurnStatus.COMPLETED:
                self._sounding.discard(frame.turn)
        self._put(frame)

    def _on_failure(self, id: str, error: ClientError) -> None:
        if id == self.turn:
            self._changed.set()
            return
        self._open.discard(id)
        self._sounding.discard(id)
        self._put(Unasked(id, error))

    def _put(self, event: TalkEvent) -> None:
        if len(self._events) >= UNREAD:
            self._open.clear()
            self._sounding.clear()
            self._unread = True
            self.part.fail(ClientError(_UNREAD))
            return
        append(self._events, event)
        self._changed.set()


@contextlib.asynccontextmanager
async def talk(
    chat: Chat,
    format: AudioFormat | None = None,
    *,
    kb: str | None = None,
    context: dict[str, Any] | None = None,
    language: str = "",
    silence_s: float | None = None,
    interrupt: bool = False,
    turn: str | None = None,
    voice: Voice | None = None,
) -> AsyncIterator[Talk]:
    """Talk hands free, in ``format`` (None: 16 kHz, mono, 16 bits). With a ``voice`` answers are spoken too, and
    whoever speaks over one interrupts it. ``silence_s`` of silence ends an utterance; None: the server's own choice.
    Leaving it stops the stream; answers that have not been read run on.

    Raises:
        Disconnected: there is no connection at present.
    """
    talking = Talk(chat, turn or uuid.uuid4().hex, voice)
    start = AudioStart(
        turn=talking.turn,
        format=format or AudioFormat(),
        hands_free=True,
        kb=kb,
        context=context,
        language=language,
        silence_ms=None if silence_s is None else int(silence_s * 1000),
        interrupt=interrupt,
        speak=voice,
    )
    chat.talks.append(talking)
    try:
        talking.line = await chat.begin(start, talking.part)
        yield talking
        await talking.stop()
    finally:
        chat.talks.remove(talking)
        chat.forget(talking.part)
