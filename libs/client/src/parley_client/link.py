"""Keeps a connection to ``/v1/connect``, one after another, and says on each what has to be said again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.typing import Subprotocol

from parley_client.aloud import Aloud
from parley_client.backoff import Backoff
from parley_client.ending import named_wait_s, raise_if_final, reason_of, socket_url
from parley_client.errors import Disconnected
from parley_client.options import ClientOptions, Sound
from parley_client.resume import GapFound, Memory
from parley_client.speech import is_audio, read_audio
from parley_protocol import codec
from parley_protocol.client import (
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    AnswerFlush,
    AnswerSpoken,
    ClientFrame,
    Degraded,
    Draining,
    ErrorFrame,
    Restored,
    ServerFrame,
    SpeechStartedFrame,
    SpeechStoppedFrame,
    TurnCancel,
    Welcome,
)
from parley_protocol.faults import ProtocolError
from parley_protocol.speech import AnswerAudio

_NOTHING = "nothing answers at {}; start Parley with ./task up, or name another address"


class Link:
    """Frames of the server go to the memory; audio and what is told about sound, as ``aloud`` has them, to ``on_audio``
    and ``on_sound``.
    """

    def __init__(
        self,
        url: str,
        options: ClientOptions,
        memory: Memory,
        aloud: Aloud,
        on_audio: Callable[[AnswerAudio, bytes], None],
        on_sound: Callable[[Sound], None],
    ) -> None:
        self._url = socket_url(url)
        self._options = options
        self._memory = memory
        self._aloud = aloud
        self._on_audio = on_audio
        self._on_sound = on_sound
        self._socket: ClientConnection | None = None
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._encode: Callable[[ClientFrame], str | bytes] = codec.encode_pack if options.binary else codec.encode_json
        self._notice = options.on_notice or (lambda _: None)
        self._wait_s: float | None = None
        self._sockets = 0

    @property
    def socket(self) -> ClientConnection | None:
        """The connection, while there is one that has been welcomed."""
        return self._socket if self._welcome.done() else None

    async def welcome(self) -> Welcome:
        """The greeting of the current connection, as soon as there is one."""
        return await asyncio.shield(self._welcome)

    async def send(self, frame: ClientFrame) -> None:
        """Send now if there is a connection; what must not be lost is sent again after the next welcome."""
        if (socket := self.socket) is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._write(socket, frame)

    async def put(self, socket: ClientConnection, frame: ClientFrame | bytes) -> None:
        """Send on this connection if it is still the one; a turn that was being said on it fails with it."""
        if socket is not self._socket:
            return
        with contextlib.suppress(ConnectionClosed):
            if isinstance(frame, bytes):
                await socket.send(frame)
            else:
                await self._write(socket, frame)

    def close(self) -> None:
        """Nobody waits for a greeting any more."""
        if not self._welcome.done():
            self._welcome.cancel()

    # --- one connection after another -------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a connection until cancelled. Raises Disconnected when the server sends us away for good."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        lost_at = loop.time()
        tell = True
        while True:
            try:
                await self._one_connection(backoff)
            except (OSError, TimeoutError, WebSocketException, GapFound, ProtocolError) as error:
                raise_if_final(error, self._options.max_frame)
                if (named := named_wait_s(error)) is not None:
                    self._wait_s = named
                if self._welcome.done():
                    lost_at, tell = loop.time(), True
                    self._welcome = loop.create_future()
                elif not self._options.wait_first and self._memory.session is None:
                    raise Disconnected(_NOTHING.format(self._url)) from error
                if tell:
                    self._notice(f"connection lost ({reason_of(error)}); coming back")
                    tell = False
            self._socket = None
            give_up = self._options.give_up_s
            if give_up and loop.time() - lost_at > give_up:
                raise Disconnected(_NOTHING.format(self._url))
            delay, self._wait_s = (backoff.next() if self._wait_s is None else self._wait_s), None
            await asyncio.sleep(delay)

    async def _one_connection(self, backoff: Backoff) -> None:
        options = self._options
        protocol = Subprotocol(SUBPROTOCOL_MSGPACK if options.binary else SUBPROTOCOL_JSON)
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else None
        async with websockets.connect(
            self._url,
            subprotocols=[protocol],
            additional_headers=headers,
            max_size=options.max_frame,
            compression=None,
            open_timeout=options.connect_s,
            close_timeout=1.0,
            proxy=None,
        ) as socket:
            self._socket = socket
            async with self._observed(socket):
                await self._converse(socket, backoff)

    @contextlib.asynccontextmanager
    async def _observed(self, socket: ClientConnection) -> AsyncIterator[None]:
        """Tells the observer of the connection's beginning and end."""
        observer = self._options.observer
        self._sockets += 1
        if observer is not None:
            observer.opened(self._sockets)
        own = True
        try:
            yield
        except BaseException as error:
            own = socket.protocol.state is State.OPEN
            # Leaving on purpose is no failure: 1000 instead of 1011.
            leaving = isinstance(error, asyncio.CancelledError)
            await socket.close(CloseCode.NORMAL_CLOSURE if leaving else CloseCode.INTERNAL_ERROR)
            raise
        finally:
            if observer is not None:
                observer.closed(self._sockets, socket.close_code or CloseCode.ABNORMAL_CLOSURE, own=own)

    async def _converse(self, socket: ClientConnection, backoff: Backoff) -> None:
        """From hello until the connection ends. Raises ConnectionClosed, GapFound or ProtocolError."""
        await self._write(socket, self._memory.hello())
        async with asyncio.timeout(self._options.connect_s):
            while not self._welcome.done():
                self._read(await socket.recv())
        backoff.reset()
        for start in self._memory.turns.unsent:
            await self._write(socket, start)
        for turn in self._memory.turns.cancels:
            await self._write(socket, TurnCancel(turn=turn))
        for flush, speak in self._aloud.again():
            if flush is not None:
                self._on_sound(flush)
            await self._write(socket, speak)
        async for data in socket:
            self._read(data)
        protocol = socket.protocol
        raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)

    async def _write(self, socket: ClientConnection, frame: ClientFrame) -> None:
        data = self._encode(frame)
        if (observer := self._options.observer) is not None:
            observer.sent(self._sockets, data)
        await socket.send(data)

    # --- what the server says ---------------------------------------------------------------------------------

    def _read(self, data: str | bytes) -> None:
        if (observer := self._options.observer) is not None:
            observer.received(self._sockets, data)
        if is_audio(data, binary=self._options.binary):
            assert isinstance(data, bytes)
            header, pcm = read_audio(data, binary=self._options.binary)
            self._on_audio(self._aloud.audio(header, pcm), pcm)
        else:
            self._take(codec.decode_server(data))

    def _take(self, frame: ServerFrame) -> None:
        known = self._memory.session
        self._memory.take(frame)
        match frame:
            case Welcome() if not self._welcome.done():
                if known is not None and known != frame.session:
                    self._notice("the server does not know this session any more; a new conversation begins")
                self._welcome.set_result(frame)
            case Draining():
                self._wait_s = frame.reconnect_in_ms / 1000
            case Degraded():
                self._notice(f"the server is degraded: {frame.reason}")
            case Restored():
                self._notice("the server is restored")
            case AnswerFlush() | AnswerSpoken() | SpeechStartedFrame() | SpeechStoppedFrame():
                self._on_sound(self._aloud.sound(frame))
            case ErrorFrame() if (unspoken := self._aloud.refused(frame)) is not None:
                self._on_sound(unspoken)
            case ErrorFrame() if frame.turn is None:
                self._notice(f"{frame.code}: {frame.message}")
                if frame.retry_after_ms and not self._welcome.done():
                    self._wait_s = frame.retry_after_ms / 1000  # hello was refused: there is no room yet
            case _:
                pass
