"""A conversation over ``/v1/connect`` that survives its connections."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

from parley_client.aloud import Aloud
from parley_client.errors import ClientClosed, ClientError, TurnLost
from parley_client.link import Link
from parley_client.options import GRACE_S, ClientOptions, Sound
from parley_client.resume import Joins, Memory
from parley_client.speech import Line, Speech, gone
from parley_client.turn import Turn
from parley_protocol.client import AudioFormat, AudioStart, TurnCancel, TurnStart, Voice
from parley_protocol.speech import AnswerAudio


class Chat:
    """One session. Made by :func:`connect`; safe for many concurrent turns of one event loop.

    The server runs a session's turns one after another, in the order of ``ask``.
    """

    def __init__(self, url: str, options: ClientOptions) -> None:
        self._options = options
        self._memory = Memory(session=options.session, position=options.position, token=options.token)
        self._turns = self._memory.turns
        self.aloud = Aloud()
        self.link = Link(url, options, self._memory, self.aloud, self._on_audio, self._on_sound)
        self._closed: ClientError | None = None
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
        self._turns.begin(made, start)
        if voice is not None:
            self.aloud.want(made, voice)
        self.limit(made, deadline_s)
        await self.link.send(start)
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
        socket = self.link.socket
        if socket is None:
            raise gone()
        self._turns.speak(made)
        await self.link.put(socket, start)
        return Line(self.link, socket, binary=self._options.binary)

    def said(self, turn: Turn) -> None:
        """The turn has been said to its end."""
        self._turns.said(turn.id)

    def forget(self, turn: Turn) -> None:
        """Nobody waits for it any more."""
        self._turns.give_up(turn, ClientClosed("nobody waits for this turn any more"))

    def follow(self, turn: str) -> Turn:
        """Take over a turn of an earlier client of this session; call before the first connection is up."""
        made = Turn(turn, self.cancel)
        self._turns.begin(made)
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
        timer = asyncio.get_running_loop().call_later(limit_s, self._turns.give_up, turn, error)
        turn.limit(timer)

    async def cancel(self, turn: str) -> None:
        """Ask for the end of a turn, see :meth:`Turn.cancel`."""
        self._turns.cancel(turn)
        await self.link.send(TurnCancel(turn=turn))

    def close(self, error: ClientError) -> None:
        """End every turn for its caller."""
        self._closed = error
        for turn in self._turns.all:
            self._turns.give_up(turn, error)
        self.link.close()

    def _on_audio(self, header: AnswerAudio, pcm: bytes) -> None:
        if self._options.on_audio is not None:
            self._options.on_audio(header, pcm)
        for talk in self.talks:
            talk.on_audio(header, pcm)

    def _on_sound(self, sound: Sound) -> None:
        if self._options.on_sound is not None:
            self._options.on_sound(sound)
        for talk in self.talks:
            talk.on_sound(sound)


@contextlib.asynccontextmanager
async def connect(url: str = "http://127.0.0.1:8000", options: ClientOptions | None = None) -> AsyncIterator[Chat]:
    """A :class:`Chat` with a connection that is up.

    Raises:
        Disconnected: no server within ``give_up_s``, or it refused us.
    """
    chat = Chat(url, options or ClientOptions())
    runner = asyncio.create_task(chat.link.run(), name="parley-client")
    runner.add_done_callback(lambda task: _finish(chat, task))
    try:
        greeting = asyncio.ensure_future(chat.link.welcome())
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
