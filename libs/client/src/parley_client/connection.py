"""A conversation over ``/v1/connect`` that survives its connections."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.typing import Subprotocol

from parley_client.aloud import Aloud
from parley_client.backoff import Backoff
from parley_client.ending import named_wait_s, raise_if_final, reason_of, socket_url
from parley_client.errors import ClientClosed, ClientError, Disconnected, TurnLost
from parley_client.options import GRACE_S, ClientOptions, Sound
from parley_client.resume import GapFound, Joins, Memory
from parley_client.speech import Line, Speech, gone, is_audio, read_audio
from parley_client.turn import Turn
from parley_protocol import codec
from parley_protocol.client import (
    SUBPROTOCOL_JSON,
    SUBPROTOCOL_MSGPACK,
    AnswerFlush,
    AnswerSpoken,
    AudioFormat,
    AudioStart,
    ClientFrame,
    Degraded,
    Draining,
    ErrorFrame,
    Restored,
    SpeechStartedFrame,
    SpeechStoppedFrame,
    TurnCancel,
    TurnStart,
    Voice,
    Welcome,
)
from parley_protocol.faults import ProtocolError

_NOTHING = "nothing answers at {}; start Parley with ./task up, or name another address"


class Chat:
    """One session. Made by :func:`connect`; safe for many concurrent turns of one event loop.

    The server runs a session's turns one after another, in the order of ``ask``.
    """

    def __init__(self, url: str, options: ClientOptions) -> None:
        self._url = socket_url(url)
        self._options = options
        self._memory = Memory(session=options.session, position=options.position, token=options.token)
        self._socket: ClientConnection | None = None
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._closed: ClientError | None = None
        self._encode: Callable[[ClientFrame], str | bytes] = codec.encode_pack if options.binary else codec.encode_json
        self._notice = options.on_notice or (lambda _: None)
        self._wait_s: float | None = None
        self._sockets = 0
        self.aloud = Aloud()
        self.talks: list[Joins] = self._memory.talks
        """Whoever talks hands free, see :func:`parley_client.talk`."""

    @property
    def session(self) -> str | None:
        """The signed session id; hand it to a later client to go on."""
        return self._memory.session

    @property
    def position(self) -> str | None:
        """The last position read."""
        return self._memory.position

    async def ask(
        self,
        text: str,
        *,
        kb: str | None = None,
        context: dict[str, Any] | None = None,
        deadline_s: float | None = None,
        interrupt: bool = False,
        turn: str | None = None,
        voice: Voice | None = None,
    ) -> Turn:
        """Start a turn and return when the server has accepted it. With a ``voice`` the answer is
        spoken as well, see ``ClientOptions.on_audio``.

        Raises:
            TurnRefused: the server did not take it (overloaded, invalid, unknown knowledge base, conflict, ...).
            TurnLost: the server said nothing in time, see ``ClientOptions.turn_s``. The turn raises it as well.
            Disconnected: no server could be reached within ``give_up_s``.
        """
        if self._closed is not None:
            raise self._closed
        made = Turn(turn or uuid.uuid4().hex, self.cancel)
        deadline_ms = None if deadline_s is None else int(deadline_s * 1000)
        start = TurnStart(
            turn=made.id,
            text=text,
            kb=kb,
            context=context,
            deadline_ms=deadline_ms,
            interrupt=interrupt,
            speak=voice,
        )
        self._memory.begin(start, made)
        if voice is not None:
            self.aloud.want(made, voice)
        self.limit(made, deadline_s)
        await self._send(start)
        await made.accepted.wait()
        made.check()
        return made

    async def speak(
        self,
        format: AudioFormat | None = None,
        *,
        kb: str | None = None,
        context: dict[str, Any] | None = None,
        deadline_s: float | None = None,
        language: str = "",
        interrupt: bool = False,
        turn: str | None = None,
        voice: Voice | None = None,
    ) -> Speech:
        """Begin to say a turn, in ``format`` (None: 16 kHz, mono, 16 bits). With a ``voice`` the answer is spoken too.

        Raises:
            Disconnected: there is no connection at present.
        """
        made = Turn(turn or uuid.uuid4().hex, self.cancel)
        start = AudioStart(
            turn=made.id,
            format=format or AudioFormat(),
            kb=kb,
            context=context,
            deadline_ms=None if deadline_s is None else int(deadline_s * 1000),
            language=language,
            interrupt=interrupt,
            speak=voice,
        )
        line = await self.begin(start, made)
        if voice is not None:
            self.aloud.want(made, voice)
        if not made.finished:
            self.limit(made, None)
        return Speech(self, made, line)

    async def begin(self, start: AudioStart, made: Turn) -> Line:
        """Begin to say something, which fails ``made`` if it is not taken, or if the connection is lost meanwhile.

        Raises:
            Disconnected: there is no connection at present.
        """
        if self._closed is not None:
            raise self._closed
        socket = self._socket
        if socket is None or not self._welcome.done():
            raise gone()
        self._memory.speak(made)
        await self.put(socket, start)
        return Line(self, socket, binary=self._options.binary)

    async def put(self, socket: ClientConnection, frame: ClientFrame | bytes) -> None:
        """Send on this connection if it is still the one; a turn that was being said on it fails with it."""
        if socket is not self._socket:
            return
        with contextlib.suppress(ConnectionClosed):
            if isinstance(frame, bytes):
                await socket.send(frame)
            else:
                await self._write(socket, frame)

    def said(self, turn: Turn) -> None:
        """The turn has been said to its end."""
        self._memory.said(turn)

    def forget(self, turn: Turn) -> None:
        """Nobody waits for it any more."""
        self._memory.give_up(turn, ClientClosed("nobody waits for this turn any more"))

    def follow(self, turn: str) -> Turn:
        """Take over a turn of an earlier client of this session; call before the first connection is up."""
        made = Turn(turn, self.cancel)
        self._memory.adopt(made)
        self.limit(made, None)
        return made

    def limit(self, turn: Turn, deadline_s: float | None) -> None:
        """Give it up when its end has been awaited for too long, see ``ClientOptions.turn_s``."""
        limits = [] if deadline_s is None else [max(0.0, deadline_s) + GRACE_S]
        limits += [self._options.turn_s] if self._options.turn_s else []
        if not limits:
            return
        limit_s = min(limits)
        error = TurnLost(
            f"the server did not tell the end of this turn within {limit_s:g} s; look at its processes with "
            "parley status, then ask again"
        )
        timer = asyncio.get_running_loop().call_later(limit_s, self._memory.give_up, turn, error)
        turn.limit(timer)

    async def cancel(self, turn: str) -> None:
        """Ask for the end of a turn, see :meth:`Turn.cancel`."""
        self._memory.cancel(turn)
        await self._send(TurnCancel(turn=turn))

    async def _send(self, frame: ClientFrame) -> None:
        """Send now if there is a connection; what must not be lost is sent again after the next welcome."""
        if self._socket is None or not self._welcome.done():
            return
        with contextlib.suppress(ConnectionClosed):
            await self._write(self._socket, frame)

    async def _write(self, socket: ClientConnection, frame: ClientFrame) -> None:
        data = self._encode(frame)
        if (observer := self._options.observer) is not None:
            observer.sent(self._sockets, data)
        await socket.send(data)

    def _read(self, data: str | bytes) -> None:
        if (observer := self._options.observer) is not None:
            observer.received(self._sockets, data)
        if is_audio(data, binary=self._options.binary):
            assert isinstance(data, bytes)
            header, pcm = read_audio(data, binary=self._options.binary)
            header = self.aloud.audio(header, pcm)
            if self._options.on_audio is not None:
                self._options.on_audio(header, pcm)
            for talk in self.talks:
                talk.on_audio(header, pcm)
            return
        self._take(codec.decode_server(data))

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
                elif not self._options.wait_first and self.session is None:
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
        for start in self._memory.unsent():
            await self._write(socket, start)
        for turn in self._memory.cancels():
            await self._write(socket, TurnCancel(turn=turn))
        for flush, speak in self.aloud.again():
            if flush is not None:
                self._tell(flush)
            await self._write(socket, speak)
        async for data in socket:
            self._read(data)
        protocol = socket.protocol
        raise ConnectionClosed(protocol.close_rcvd, protocol.close_sent, protocol.close_rcvd_then_sent)

    def _take(self, frame: Any) -> None:
        known = self.session
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
                self._tell(self.aloud.sound(frame))
            case ErrorFrame() if (unspoken := self.aloud.refused(frame)) is not None:
                self._tell(unspoken)
            case ErrorFrame() if frame.turn is None:
                self._notice(f"{frame.code}: {frame.message}")
                if frame.retry_after_ms and not self._welcome.done():
                    self._wait_s = frame.retry_after_ms / 1000  # hello was refused: there is no room yet
            case _:
                pass

    def _tell(self, sound: Sound) -> None:
        if self._options.on_sound is not None:
            self._options.on_sound(sound)
        for talk in self.talks:
            talk.on_sound(sound)

    async def welcome(self) -> Welcome:
        """The greeting of the current connection, as soon as there is one."""
        return await asyncio.shield(self._welcome)

    def close(self, error: ClientError) -> None:
        """End every turn for its caller."""
        self._closed = error
        self._memory.fail_all(error)
        if not self._welcome.done():
            self._welcome.cancel()


@contextlib.asynccontextmanager
async def connect(url: str = "http://127.0.0.1:8000", options: ClientOptions | None = None) -> AsyncIterator[Chat]:
    """A :class:`Chat` with a connection that is up.

    Raises:
        Disconnected: no server within ``give_up_s``, or it refused us.
    """
    chat = Chat(url, options or ClientOptions())
    runner = asyncio.create_task(chat.run(), name="parley-client")
    runner.add_done_callback(lambda task: _finish(chat, task))
    try:
        greeting = asyncio.ensure_future(chat.welcome())
        await asyncio.wait((greeting, runner), return_when=asyncio.FIRST_COMPLETED)
        if runner.done():
            greeting.cancel()
            await runner
        yield chat
    finally:
        runner.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClientError):
            await runner


def _finish(chat: Chat, task: "asyncio.Task[None]") -> None:
    if task.cancelled():
        chat.close(ClientClosed("the client was closed before the turn had ended"))
        return
    error = task.exception()
    chat.close(error if isinstance(error, ClientError) else ClientError(f"the client stopped: {error!r}"))
