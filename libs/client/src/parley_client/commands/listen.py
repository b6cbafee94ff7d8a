"""`parley chat --audio FILE`: a recording, said as fast as it was spoken: one question, or a talk hands free."""

import asyncio
import contextlib
import sys
import wave
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from parley_client.commands import common
from parley_client.connection import Chat, connect
from parley_client.errors import ClientError
from parley_client.options import ClientOptions, Sound
from parley_client.speech import Speech
from parley_client.talking import Talk, Unasked, talk
from parley_protocol.client import (
    AnswerFlush,
    AnswerSpoken,
    AudioFormat,
    Done,
    TranscriptFinal,
    TranscriptPartial,
    Voice,
)
from parley_protocol.events import TurnStatus
from parley_protocol.speech import AnswerAudio

PIECE_S = 0.02
"""Of audio in one frame."""
SPOKEN_S = 60.0
"""How long further audio of an answer is awaited after its text."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A WAV file's audio."""

    format: AudioFormat
    pcm: bytes

    def pieces(self) -> Iterator[bytes]:
        """Frames of :data:`PIECE_S`."""
        size = max(1, int(self.format.rate * PIECE_S)) * 2 * self.format.channels
        for at in range(0, len(self.pcm), size):
            yield self.pcm[at : at + size]


def read_wav(path: Path) -> Recording:
    """Raises ClientError where the file is no WAV of 16-bit samples, mono or stereo."""
    try:
        with wave.open(str(path)) as file:
            if file.getsampwidth() != 2 or file.getnchannels() not in (1, 2):
                raise ClientError(f"{path}: its samples must have 16 bits, and one or two channels")
            format_ = AudioFormat(rate=file.getframerate(), channels=file.getnchannels())
            return Recording(format_, file.readframes(file.getnframes()))
    except (OSError, EOFError, wave.Error) as error:
        raise ClientError(f"{path} cannot be read as a WAV file: {str(error) or 'it has no audio'}") from error


class Answered:
    """Audio of answers as it comes, for a file: as much of each as was to be heard."""

    def __init__(self) -> None:
        self.rate = 24_000
        self.over = asyncio.Event()
        self._more = asyncio.Event()
        self.fault = ""
        """Why not all of it was spoken."""
        self._pcm: dict[str, bytearray] = {}

    def on_audio(self, header: AnswerAudio, pcm: bytes) -> None:
        """See ``ClientOptions.on_audio``."""
        self.rate = header.rate
        self._pcm.setdefault(header.turn, bytearray()).extend(pcm)
        self._more.set()

    def on_sound(self, sound: Sound) -> None:
        """See ``ClientOptions.on_sound``."""
        self._more.set()
        match sound:
            case AnswerFlush():
                del self._pcm.get(sound.turn, bytearray())[sound.ms * self.rate // 1000 * 2 :]
                if sound.ended:
                    self.over.set()
            case AnswerSpoken():
                self.fault = sound.fault.message if sound.fault is not None else ""
                self.over.set()
            case _:
                pass

    @property
    def seconds(self) -> float:
        """So far."""
        return sum(len(pcm) for pcm in self._pcm.values()) / 2 / self.rate

    async def to_its_end(self, limit_s: float) -> bool:
        """Wait until all has come, however long that is. False: no more came for ``limit_s``."""
        while not self.over.is_set():
            self._more.clear()
            try:
                async with asyncio.timeout(limit_s):
                    await self._more.wait()
            except TimeoutError:
                return False
            common.progress(f"speaking … {self.seconds:.0f} s")
        common.progress("")
        return True

    def write(self, path: Path) -> None:
        """Raises ClientError."""
        try:
            with wave.open(str(path), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(self.rate)
                file.writeframes(b"".join(self._pcm.values()))
        except OSError as error:
            raise ClientError(f"{path} cannot be written: {error}") from error


async def listen(
    path: Path, out: Path | None, *, kb: str, session: str | None, url: str, token: str | None, hands_free: bool = False
) -> TurnStatus:
    """Say the recording, show what was heard and the answer; with ``out`` have it spoken into that file. How the
    (last) answer ended. ``hands_free``: silence ends a question, and what is said over an answer may interrupt it.
    """
    recording, answered = read_wav(path), Answered()
    if out is not None and not out.parent.is_dir():
        raise ClientError(f"{out} cannot be written: there is no folder {out.parent}")
    options = ClientOptions(
        token=token,
        session=session,
        wait_first=False,
        on_notice=_notice,
        on_audio=answered.on_audio,
        on_sound=answered.on_sound,
    )
    voice = Voice() if out is not None else None
    async with connect(url, options) as chat:
        if hands_free:
            status = await _talk(chat, recording, kb, voice)
        else:
            status = await _ask(chat, recording, kb, voice, answered)
        if answered.fault:
            common.err.print(f"[yellow]not all of the answer was spoken: {common.escape(answered.fault)}[/yellow]")
        if out is not None:
            answered.write(out)
            common.out.print(f"[dim]spoken answer: {common.escape(str(out))}[/dim]")
        return status


async def _ask(chat: Chat, recording: Recording, kb: str, voice: Voice | None, answered: Answered) -> TurnStatus:
    speech = await chat.speak(recording.format, kb=kb, voice=voice)
    async with _saying(speech, recording):
        async for event in speech.turn:
            _show(event)
    if voice is not None and not await answered.to_its_end(SPOKEN_S):
        common.err.print(f"[yellow]the answer was not spoken to its end: nothing came for {SPOKEN_S:g} s[/yellow]")
    return (await speech.turn.done()).status


async def _talk(chat: Chat, recording: Recording, kb: str, voice: Voice | None) -> TurnStatus:
    """Raises ClientError where nothing was asked."""
    last: TurnStatus | None = None
    async with talk(chat, recording.format, kb=kb, voice=voice) as talking, _saying(talking, recording):
        async for event in talking:
            if isinstance(event, Done):
                last = event.status
            if isinstance(event, Unasked):
                common.err.print(f"[red]{common.escape(str(event.error))}[/red]")
            else:
                _show(event)
    if last is None:
        raise ClientError("nothing was asked: no words were heard in this recording")
    return last


def _notice(text: str) -> None:
    common.err.print(f"[yellow]{common.escape(text)}[/yellow]")


@contextlib.asynccontextmanager
async def _saying(speech: Speech | Talk, recording: Recording) -> AsyncIterator[None]:
    """It is said meanwhile. Raises what has become of it."""
    saying = asyncio.create_task(_say(speech, recording))
    try:
        yield
        await saying
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


async def _say(speech: Speech | Talk, recording: Recording) -> None:
    """As fast as it was spoken."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, piece in enumerate(recording.pieces(), 1):
        await speech.send(piece)
        await asyncio.sleep(max(0.0, began + number * PIECE_S - loop.time()))
    await speech.stop()


def _show(event: object) -> None:
    live = sys.stdout.isatty()
    match event:
        case TranscriptPartial() if live:
            sys.stdout.write(f"\r\x1b[K› {common.clean(event.text)} …")
            sys.stdout.flush()
        case TranscriptFinal():
            if live:
                sys.stdout.write("\r\x1b[K")
            common.out.print(f"› {common.clean(event.text)}", markup=False)
        case _:
            common.show_answer(event)
