"""A client that talks hands free: its microphone never stops, and it does what the protocol tells it to.

It comes back with its session, its position and the turns that were accepted and are not over, begins another stream
under another id, and says again what had not been accepted. Everything it sees is kept for the judge.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from parley_asr.engines.scripted import speak
from parley_protocol.speech import decode_audio

from .seen import Audio, Frame, Line, Lost, Said, Saying, Talk

RATE = 16_000
PIECE_S = 0.02
PIECE = int(RATE * PIECE_S) * 2
QUIET = bytes(PIECE)
SILENCE_MS = 500
"""That ends an utterance."""
MARGIN_S = 0.1
VOICE = {"rate": 8000}
TALK_S = 75.0
HEARD_S = 6.0
"""Longest wait for an answer to be heard before the next line is said over it: it may not be spoken any more."""
SPOKEN_S = 15.0
AGAIN_S = 0.2
PAUSE_S = 0.4
"""Between an answer's end and the next line."""
FATE_S = 1.5
"""After everything accepted has ended: what was said on a stream that is over would have been asked by then."""


def pieces(text: str) -> list[bytes]:
    """``text`` as it is said."""
    pcm = (speak(text.split(), rate=RATE) * 32_767).astype("<i2").tobytes()
    return [pcm[at : at + PIECE].ljust(PIECE, b"\0") for at in range(0, len(pcm), PIECE)]


class Stream:
    """One ``audio.start``."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.over = False
        self.left: deque[bytes] = deque()


class Socket:
    """What the client knows of the connection that it has."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire
        self.draining = False
        self.audible: set[str] = set()
        """Turns of whose answers audio has come."""
        self.silent: set[str] = set()
        """Turns of whose answers no more comes."""
        self.asked: set[str] = set()
        """Turns whose answers are to be spoken here."""


class Talker:
    """``at`` is called when a moment comes: ``speaking``, ``silence``, ``answering``, ``barging``, ``interrupted``,
    ``backchannel``, ``between``.
    """

    def __init__(self, url: Callable[[], str], name: str, lines: tuple[Line, ...], at: Callable[[str], None]) -> None:
        self.talk = Talk(lines)
        self.session: str | None = None
        self._url = url
        self._name = name
        self._at = at
        self._position: str | None = None
        self._turns: dict[int, str] = {}
        """The turn of each line, as far as it is known."""
        self._accepted: list[str] = []
        self._done: dict[str, str] = {}
        self._line = -1
        """That is being said, or was said last."""
        self._socket: Socket | None = None
        self._stream: Stream | None = None
        self._streams = 0
        self._leaving = False
        self._news = asyncio.Event()
        self._staying: asyncio.Task[None] | None = None
        self._microphone: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """The whole conversation. Raises TimeoutError after :data:`TALK_S`."""
        self._staying = staying = asyncio.create_task(self._stay())
        try:
            async with asyncio.timeout(TALK_S):
                for number in range(len(self.talk.lines)):
                    await self._tell(number)
                await self._until(lambda: all(turn in self._done for turn in self._accepted))
                await self._until(lambda: self._quiet, SPOKEN_S)
            self.talk.over = True
        finally:
            self._leaving = True
            tasks = [task for task in (staying, self._microphone) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what is said

    async def _tell(self, number: int) -> None:
        line = self.talk.lines[number]
        if not line.over and number:
            await self._until(lambda: all(turn in self._done for turn in self._accepted))
            await self._until(lambda: self._quiet, SPOKEN_S)
            self._at("between")
            await asyncio.sleep(PAUSE_S)
        elif line.over:
            await self._until(self._answering, HEARD_S)
        while True:
            stream = await self._open()
            self._line = number
            self.talk.sights.append(Saying(number))
            await self._say(number, stream)
            if line.backchannel or await self._asked(number, stream):
                return

    async def _say(self, number: int, stream: Stream) -> None:
        said = pieces(self.talk.lines[number].text)
        half = len(said) // 2
        stream.left.extend(said)
        await self._until(lambda: stream.over or len(stream.left) <= half)
        self._at("speaking")
        await self._until(lambda: stream.over or not stream.left)
        await self._until(lambda: stream.over, SILENCE_MS / 2000)
        self._at("silence")
        await self._until(lambda: stream.over, SILENCE_MS / 2000 + MARGIN_S)
        if not stream.over:
            self.talk.sights.append(Said(number))

    async def _asked(self, number: int, stream: Stream) -> bool:
        """Whether the line has been accepted; False: it is to be said again."""
        await self._until(lambda: stream.over or self._known(number))
        if not self._known(number):  # what came before the stream's end may be in the session's order
            await self._until(lambda: self._known(number) or all(turn in self._done for turn in self._accepted))
            await self._until(lambda: self._known(number), FATE_S)
        if not self._known(number):
            self._turns.pop(number, None)
        return self._known(number)

    def _known(self, number: int) -> bool:
        return self._turns.get(number) in self._accepted

    def _answering(self) -> bool:
        """Whether the last accepted turn's answer is heard, or will not be."""
        turn, socket = self._accepted[-1], self._socket
        if socket is not None and turn in socket.asked:
            return turn in socket.audible or turn in socket.silent
        return True

    @property
    def _quiet(self) -> bool:
        """Whether nothing is being spoken any more."""
        return self._socket is None or self._socket.asked <= self._socket.silent

    async def _open(self) -> Stream:
        """The stream, another one where it is over."""
        while self._stream is None or self._stream.over:
            await self._until(lambda: self._socket is not None)
            if self._socket is not None:
                await self._begin(self._socket)
        return self._stream

    async def _begin(self, socket: Socket) -> None:
        self._streams += 1
        self._stream = stream = Stream(f"{self._name}-{self._streams}")
        start = {"type": "audio.start", "turn": stream.id, "hands_free": True, "silence_ms": SILENCE_MS}
        self._microphone = asyncio.create_task(self._listen(socket, stream, json.dumps(start | {"speak": VOICE})))
        await self._until(lambda: stream.over, AGAIN_S)
        if stream.over and socket.draining:
            await socket.wire.close()
            await self._until(lambda: self._socket is not socket)

    async def _listen(self, socket: Socket, stream: Stream, start: str) -> None:
        """The microphone, until the stream is over."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.wire.send(start)
            while not stream.over:
                await socket.wire.send(stream.left.popleft() if stream.left else QUIET)
                self._news.set()
                due += PIECE_S
                await asyncio.sleep(max(0.0, due - loop.time()))
        stream.over = True
        self._news.set()

    async def _until(self, done: Callable[[], bool], limit_s: float = TALK_S) -> bool:
        """Whether it has become so within the limit."""
        assert self._staying is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not done():
                    if self._staying.done():
                        self._staying.result()
                    self._news.clear()
                    await self._news.wait()
        return done()

    # ---- what is seen

    async def _stay(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                async with connect(f"{self._url()}/v1/connect", open_timeout=3, close_timeout=1) as wire:
                    await self._read(wire)
            await asyncio.sleep(AGAIN_S)

    async def _read(self, wire: ClientConnection) -> None:
        socket = Socket(wire)
        pending = [turn for turn in self._accepted if turn not in self._done]
        hello = {"type": "hello", "session": self.session, "position": self._position, "pending": pending}
        await wire.send(json.dumps(hello))
        try:
            async for data in wire:
                if isinstance(data, bytes):
                    self._hear(socket, data)
                else:
                    self._take(socket, json.loads(data))
                self._news.set()
        finally:
            if self._socket is socket:
                self._socket = None
                if not self._leaving:
                    self.talk.sights.append(Lost())
            if self._stream is not None:
                self._stream.over = True
            self._news.set()

    def _hear(self, socket: Socket, data: bytes) -> None:
        header, pcm = decode_audio(data)
        self.talk.sights.append(Audio(header.turn, header.at, len(pcm) // 2))
        socket.asked.add(header.turn)
        if header.turn not in socket.audible:
            socket.audible.add(header.turn)
            self._at("answering")

    def _take(self, socket: Socket, frame: dict[str, Any]) -> None:
        self.talk.sights.append(Frame(frame))
        turn = frame.get("turn", "")
        if "seq" in frame:
            self._position = frame["position"]
        match frame["type"]:
            case "welcome":
                self.session, self._socket = frame["session"], socket
            case "draining":
                socket.draining = True
            case "transcript.final" if turn not in self._accepted:
                self._turns.setdefault(self._line, turn)
            case "turn.accepted" if turn not in self._accepted:
                self._turns.setdefault(self._line, turn)
                self._accepted.append(turn)
                if self._stream is not None and turn.startswith(f"{self._stream.id}."):
                    socket.asked.add(turn)
            case "turn.done":
                self._done[turn] = frame["status"]
                if frame["status"] != "completed" and turn not in socket.audible:
                    socket.silent.add(turn)
            case "error":
                self._refused(turn)
            case "speech.started" if self.talk.lines[self._line].over:
                self._at("barging")
            case "answer.flush" if frame.get("ended"):
                socket.silent.add(turn)
                self._at("interrupted")
            case "answer.flush" if self.talk.lines[self._line].backchannel:
                self._at("backchannel")
            case "answer.spoken":
                socket.silent.add(turn)

    def _refused(self, turn: str) -> None:
        if self._stream is not None and turn == self._stream.id:
            self._stream.over = True
        for number, known in list(self._turns.items()):
            if known == turn and turn not in self._accepted:
                del self._turns[number]
