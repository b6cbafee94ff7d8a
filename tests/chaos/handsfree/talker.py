"""A client that talks hands free: its microphone never stops, and it does what the protocol tells it to.

It comes back with its session, its position and the turns that were accepted and are not over, begins another stream
under another id, and says again what had not been accepted. Everything it sees is kept for the judge.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable

import websockets
from websockets.asyncio.client import ClientConnection, connect

from parley_asr.engines.scripted import speak

from .known import Known, Socket, Stream
from .seen import Line, Lost, Said, Saying

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


class Talker:
    """``at`` is called when a moment comes: ``speaking``, ``silence``, ``answering``, ``barging``, ``interrupted``,
    ``backchannel``, ``between``.
    """

    def __init__(self, url: Callable[[], str], name: str, lines: tuple[Line, ...], at: Callable[[str], None]) -> None:
        self.known = Known(lines, at)
        self.talk = self.known.talk
        self._url = url
        self._name = name
        self._at = at
        self._socket: Socket | None = None
        """Greeted, and open."""
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
                await self._until(lambda: not self.known.pending)
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
            await self._until(lambda: not self.known.pending)
            await self._until(lambda: self._quiet, SPOKEN_S)
            self._at("between")
            await asyncio.sleep(PAUSE_S)
        elif line.over:
            await self._until(self._answering, HEARD_S)
        while True:
            stream = await self._open()
            self.known.line = number
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
        await self._until(lambda: stream.over or self.known.asked(number))
        if not self.known.asked(number):  # what came before the stream's end may be in the session's order
            await self._until(lambda: self.known.asked(number) or not self.known.pending)
            await self._until(lambda: self.known.asked(number), FATE_S)
        if not self.known.asked(number):
            self.known.forget(number)
        return self.known.asked(number)

    def _answering(self) -> bool:
        """Whether the last accepted turn's answer is heard, or will not be."""
        turn, socket = self.known.accepted[-1], self._socket
        if socket is not None and turn in socket.asked:
            return turn in socket.audible or turn in socket.silent
        return True

    @property
    def _quiet(self) -> bool:
        """Whether nothing is being spoken any more."""
        return self._socket is None or self._socket.asked <= self._socket.silent

    async def _open(self) -> Stream:
        """The stream, another one where it is over."""
        while (stream := self.known.stream) is None or stream.over:
            await self._until(lambda: self._socket is not None)
            if self._socket is not None:
                await self._begin(self._socket)
        return stream

    async def _begin(self, socket: Socket) -> None:
        self._streams += 1
        self.known.stream = stream = Stream(f"{self._name}-{self._streams}")
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
        known = self.known
        hello = {"type": "hello", "session": known.session, "position": known.position, "pending": known.pending}
        await wire.send(json.dumps(hello))
        try:
            async for data in wire:
                if isinstance(data, bytes):
                    known.hear(socket, data)
                else:
                    known.take(socket, json.loads(data))
                if socket.open:
                    self._socket = socket
                self._news.set()
        finally:
            if self._socket is socket:
                self._socket = None
                if not self._leaving:
                    self.talk.sights.append(Lost())
            if known.stream is not None:
                known.stream.over = True
            self._news.set()
