"""Talks hands free: what both sides say, in order; what survives the connection and what does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from parley_client import ClientError, ClientOptions, Sound, TurnLost, TurnRefused, Unasked, Voice, connect, talk
from parley_protocol import codec
from parley_protocol.client import (
    Accepted,
    AnswerDelta,
    AnswerFlush,
    AnswerSpeak,
    AnswerSpoken,
    AudioPlayed,
    AudioStart,
    AudioStop,
    Done,
    ErrorFrame,
    Hello,
    Latency,
    Limits,
    SpeechStartedFrame,
    TranscriptFinal,
    Welcome,
)
from parley_protocol.events import TurnStatus
from parley_protocol.speech import AnswerAudio, encode_audio

pytestmark = pytest.mark.unit
LIMITS = Limits(frame=1, text=1, queued_turns=1, rate=1)


def done(turn: str, seq: int, text: str = "", status: TurnStatus = TurnStatus.COMPLETED) -> Done:
    latency = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)
    return Done(turn=turn, seq=seq, position="p", status=status, text=text, usage=None, sources=(), latency=latency)


class Server:
    """``says``: what it does with each frame of a client, a welcome aside."""

    def __init__(self, says: Callable[[ServerConnection, Any], Awaitable[None]]) -> None:
        self.taken: list[Any] = []
        self.stopped = asyncio.Event()
        self._says = says

    async def serve(self, socket: ServerConnection) -> None:
        async for data in socket:
            frame = data if isinstance(data, bytes) else codec.decode_client(data)
            self.taken.append(frame)
            if isinstance(frame, Hello):
                await send(socket, Welcome(session="s", resumed=False, gap=False, heartbeat_s=25, limits=LIMITS))
            if isinstance(frame, AudioStop):
                self.stopped.set()
            await self._says(socket, frame)


async def send(socket: ServerConnection, *frames: Any) -> None:
    for frame in frames:
        await socket.send(frame if isinstance(frame, bytes) else codec.encode_json(frame))


@asynccontextmanager
async def serving(says: Callable[[ServerConnection, Any], Awaitable[None]]) -> AsyncIterator[tuple[Server, str]]:
    server = Server(says)
    async with serve(server.serve, "127.0.0.1", 0) as running:
        yield server, f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"


OPTIONS = ClientOptions(binary=False)


async def test_everything_that_is_said_comes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_client.talking.END_S", 0.05)
    pcm = b"\x01\x02" * 80
    told = [
        SpeechStartedFrame(turn="t.0", ms=10),
        TranscriptFinal(turn="t.0", seq=0, position="p", text="hello"),
        Accepted(turn="t.0"),
        AnswerDelta(turn="t.0", seq=1, position="p", text="So."),
        encode_audio(AnswerAudio(turn="t.0", sentence=0, at=0, rate=8000), pcm),
        AnswerFlush(turn="t.0", ms=5),
        AnswerFlush(turn="t.0", ms=5, ended=True),
        done("t.0", 2, "So.", TurnStatus.CANCELLED),
        SpeechStartedFrame(turn="other.0", ms=10),
        TranscriptFinal(turn="t.1", seq=0, position="p", text="again"),
        Accepted(turn="t.1"),
        done("t.1", 1),
        AnswerSpoken(turn="t.1", ms=0),
    ]

    async def says(socket: ServerConnection, frame: Any) -> None:
        if frame == b"ab":
            await send(socket, *told)

    async with (
        serving(says) as (server, url),
        connect(url, OPTIONS) as chat,
        talk(chat, turn="t", kb="docs", silence_s=0.5, voice=Voice(rate=8000)) as talking,
    ):
        await talking.send(b"ab")
        found = []
        async for event in talking:
            found.append(event)
            if isinstance(event, Sound):
                await talking.played("t.0", 5)
            if event == AnswerSpoken(turn="t.1", ms=0):
                await talking.stop()
    started = AudioStart(turn="t", hands_free=True, kb="docs", silence_ms=500, speak=Voice(rate=8000))
    assert server.taken[1:] == [started, b"ab", AudioPlayed(turn="t.0", ms=5), AudioStop()]
    wanted = [each for each in told if not isinstance(each, Accepted) and getattr(each, "turn", "") != "other.0"]
    wanted[wanted.index(told[4])] = Sound("t.0", 0, 8000, pcm)
    assert found == wanted


async def test_an_utterance_that_is_not_asked_is_told_with_its_reason() -> None:
    async def says(socket: ServerConnection, frame: Any) -> None:
        if frame == b"ab":
            error = ErrorFrame(code="no_speech", message="no words", retryable=False, turn="t.0")
            await send(socket, TranscriptFinal(turn="t.0", seq=0, position="p", text="hm"), error)

    async with serving(says) as (_, url), connect(url, OPTIONS) as chat, talk(chat, turn="t") as talking:
        await talking.send(b"ab")
        events = aiter(talking)
        assert isinstance(await anext(events), TranscriptFinal)
        unasked = await anext(events)
        assert isinstance(unasked, Unasked)
        assert isinstance(unasked.error, TurnRefused)
        assert (unasked.turn, unasked.error.code) == ("t.0", "no_speech")


async def test_nobody_to_listen_ends_it() -> None:
    async def says(socket: ServerConnection, frame: Any) -> None:
        if isinstance(frame, AudioStart):
            await send(socket, ErrorFrame(code="overloaded", message="busy", retryable=True, turn="t"))

    async with serving(says) as (server, url), connect(url, OPTIONS) as chat:
        async with talk(chat, turn="t") as talking:
            with pytest.raises(TurnRefused, match="busy"):
                await anext(aiter(talking))
            with pytest.raises(TurnRefused, match="busy"):
                await talking.send(b"ab")
        assert not any(isinstance(frame, AudioStop) for frame in server.taken)


async def test_what_was_accepted_survives_the_connection_and_the_talk_does_not() -> None:
    hellos: list[Hello] = []

    async def says(socket: ServerConnection, frame: Any) -> None:
        if isinstance(frame, Hello):
            hellos.append(frame)
        if isinstance(frame, Hello) and len(hellos) == 2:
            await send(socket, AnswerDelta(turn="t.0", seq=1, position="p", text="So."), done("t.0", 2, "So."))
        if isinstance(frame, AnswerSpeak):
            await send(socket, audio(1, 0), AnswerSpoken(turn="t.0", ms=10))
        if frame == b"ab":
            await send(
                socket,
                TranscriptFinal(turn="t.0", seq=0, position="p", text="hello"),
                Accepted(turn="t.0"),
                audio(0, 0),
                audio(1, 80),
                TranscriptFinal(turn="t.1", seq=0, position="p", text="lost"),
            )
            socket.transport.abort()

    def audio(sentence: int, at: int) -> bytes:
        return encode_audio(AnswerAudio(turn="t.0", sentence=sentence, at=at, rate=8000), bytes(160))

    async with serving(says) as (server, url), connect(url, OPTIONS) as chat:
        found = []
        async with talk(chat, turn="t", voice=Voice(rate=8000)) as talking:
            await talking.send(b"ab")
            with pytest.raises(TurnLost, match="say it again"):
                async for event in talking:
                    found.append(event)
            with pytest.raises(TurnLost):
                await talking.send(b"cd")
    assert hellos[1].pending == ("t.0",)
    lost = [event.turn for event in found if isinstance(event, Unasked)]
    assert lost == ["t.1"]
    asked = [frame for frame in server.taken if isinstance(frame, AnswerSpeak)]
    assert asked == [AnswerSpeak(turn="t.0", speak=Voice(rate=8000), sentence=1)]
    sounds = [event for event in found if isinstance(event, Sound | AnswerFlush | AnswerSpoken)]
    assert [(type(each), getattr(each, "at", getattr(each, "ms", -1))) for each in sounds] == [
        (Sound, 0),
        (Sound, 80),
        (AnswerFlush, 10),
        (Sound, 80),
        (AnswerSpoken, 20),
    ]
    assert [type(event) for event in found if event not in sounds and not isinstance(event, Unasked)] == [
        TranscriptFinal,
        TranscriptFinal,
        AnswerDelta,
        Done,
    ]


async def test_a_talk_that_was_left_takes_nothing_any_more() -> None:
    async with serving(_silent) as (server, url), connect(url, OPTIONS) as chat:
        async with talk(chat, turn="t") as talking:
            pass
        assert chat.talks == []
        await asyncio.wait_for(server.stopped.wait(), 5)
        with pytest.raises(ClientError, match="nobody waits"):
            await talking.send(b"ab")


async def _silent(socket: ServerConnection, frame: Any) -> None:
    """Says nothing."""


async def test_a_talk_that_nobody_reads_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_client.talking.UNREAD", 3)
    pcm = encode_audio(AnswerAudio(turn="t.0", sentence=0, at=0, rate=8000), bytes(160))

    async def says(socket: ServerConnection, frame: Any) -> None:
        if frame == b"ab":
            await send(socket, TranscriptFinal(turn="t.0", seq=0, position="p", text="hello"), Accepted(turn="t.0"))
            await send(socket, *[pcm] * 4)

    found = []
    async with serving(says) as (server, url), connect(url, OPTIONS) as chat:
        async with talk(chat, turn="t", voice=Voice(rate=8000)) as talking:
            await talking.send(b"ab")
            while not talking.part.finished:
                await talking._changed.wait()
                talking._changed.clear()
            with pytest.raises(ClientError, match="were not read"):
                async for event in talking:
                    found.append(type(event))
        await asyncio.wait_for(server.stopped.wait(), 5)
    assert found == [TranscriptFinal, Sound, Sound]
