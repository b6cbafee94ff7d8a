"""Paced clients: they speak as fast as a person does, and take times.

Times are those of the realtime benchmarks of speech servers. *First update*: from the beginning of the audio to the
first words. *Final after stop*: from the write of the last frame to the last word on the utterance. *Lag*: from the
moment at which a word has been said to its being in an update; only where it is known when each word is said.
"""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field

import msgspec

from bench.voice.sound import Clip
from bench.wire import Socket, open_socket
from parley_asr.engine import RATE
from parley_protocol.client import Voice

FRAME_S = 0.1
FRAME = 2 * int(RATE * FRAME_S)
WITHIN_S = 60.0

_turns = itertools.count(1)


class Frame(msgspec.Struct):
    """What is read of a message, of either kind of server."""

    type: str = ""
    turn: str = ""
    text: str | None = None
    partial: str | None = None
    status: str = ""
    code: str = ""
    message: str = ""


_frame = msgspec.json.Decoder(Frame)


@dataclass
class Said:
    """One utterance. Seconds of ``time.perf_counter``; 0: not yet."""

    clip: Clip
    turn: str = ""
    began: float = 0.0
    stopped: float = 0.0
    first: float = 0.0
    final: float = 0.0
    accepted: float = 0.0
    done: float = 0.0
    text: str = ""
    late: float = 0.0
    """How late the client itself was with a frame, at most."""
    updates: list[tuple[float, str]] = field(default_factory=list)
    """Each new hypothesis, the last word too."""
    frames: list[tuple[float, str]] = field(default_factory=list)
    """Everything that came of its turn."""

    @property
    def first_update_ms(self) -> float:
        return (self.first - self.began) * 1000

    @property
    def final_after_stop_ms(self) -> float:
        return (self.final - self.stopped) * 1000

    @property
    def accepted_after_stop_ms(self) -> float:
        return (self.accepted - self.stopped) * 1000

    def lags_ms(self, word_s: float, gap_s: float) -> list[float]:
        """Of a clip in which a word is said for ``word_s`` before a gap of ``gap_s``: one for each word."""
        found, known = [], 0
        for at, text in self.updates:
            for number in range(known, len(text.split())):
                ends = number * (word_s + gap_s) + word_s
                found.append((at - self.began - ends) * 1000)
            known = max(known, len(text.split()))
        return found

    def update(self, text: str) -> None:
        now = time.perf_counter()
        if text and (not self.updates or text != self.updates[-1][1]):
            self.first = self.first or now
            self.updates.append((now, text))


class Speaker:
    """One socket. Raises RuntimeError with the server's words where it refuses."""

    def __init__(self, socket: Socket, *, native: bool) -> None:
        self.socket = socket
        self._native = native
        self._said: Said | None = None
        self._changed = asyncio.Event()
        self._problem = ""
        socket.on_frame = self._take

    @classmethod
    async def open(cls, port: int, *, native: bool) -> "Speaker":
        """To a gateway, or to the plain server."""
        self = cls(await open_socket(port, "/v1/connect" if native else "/"), native=native)
        if native:
            self.socket.send('{"type":"hello"}')
        return self

    async def say(self, clip: Clip, *, speak: Voice | None = None) -> Said:
        """Until everything that follows has come: the last word, and of a turn its end."""
        said = self.begin(clip, speak=speak)
        await self.pace(said)
        return await self.over(said)

    def begin(self, clip: Clip, *, speak: Voice | None = None) -> Said:
        """Say what is to come."""
        said = self._said = Said(clip, f"{next(_turns):016x}")
        if self._native:
            start = {"type": "audio.start", "turn": said.turn}
            if speak is not None:
                start["speak"] = msgspec.to_builtins(speak)
            self.socket.send(json.dumps(start))
        said.began = time.perf_counter()
        return said

    async def pace(self, said: Said) -> None:
        """The audio, each frame when it would have been recorded, and the stop."""
        pcm = said.clip.pcm
        for number, at in enumerate(range(0, len(pcm), FRAME)):
            due = said.began + min((number + 1) * FRAME_S, len(pcm) / 2 / RATE)
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            said.late = max(said.late, time.perf_counter() - due)
            self.socket.send_bytes(pcm[at : at + FRAME])
        self.socket.send('{"type":"audio.stop"}' if self._native else '{"eof":1}')
        said.stopped = time.perf_counter()

    async def over(self, said: Said) -> Said:
        """Wait for the end of it."""
        async with asyncio.timeout(WITHIN_S):
            while not (said.done if self._native else said.final):
                if self._problem or self.socket.closed.is_set():
                    raise RuntimeError(self._problem or "the server closed the socket")
                self._changed.clear()
                await self._changed.wait()
        return said

    def close(self) -> None:
        self.socket.abort()

    def _take(self, data: bytes) -> None:
        if data[:1] != b"{" or self._said is None:
            return
        frame = _frame.decode(data)
        said, now = self._said, time.perf_counter()
        if frame.type == "error":
            self._problem = f"{frame.code}: {frame.message}"
        elif not self._native:
            self._plain(said, frame, now)
        elif frame.turn == said.turn:
            said.frames.append((now, frame.type))
            self._of_turn(said, frame, now)
        if self._problem or said.done or said.final:
            self._changed.set()

    @staticmethod
    def _plain(said: Said, frame: Frame, now: float) -> None:
        said.update(frame.partial or frame.text or "")
        if frame.text is not None:
            said.final, said.text = now, frame.text

    @staticmethod
    def _of_turn(said: Said, frame: Frame, now: float) -> None:
        if frame.type in ("transcript.partial", "transcript.final"):
            said.update(frame.text or "")
            if frame.type == "transcript.final":
                said.final, said.text = now, frame.text or ""
        elif frame.type == "turn.accepted":
            said.accepted = now
        elif frame.type == "turn.done":
            said.done = now
            if frame.status != "completed":
                said.frames.append((now, frame.status))
