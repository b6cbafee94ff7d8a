"""The client against a scripted server on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from parley_client import ClientOptions, Disconnected, TurnRefused, connect
from parley_client.connection import socket_url
from parley_client.errors import ClientClosed, ClientError
from parley_protocol import codec
from parley_protocol.client import (
    Accepted,
    AnswerDelta,
    Done,
    Draining,
    ErrorFrame,
    Hello,
    Latency,
    Limits,
    ServerFrame,
    TurnCancel,
    TurnStart,
    Welcome,
)
from parley_protocol.events import TurnStatus

pytestmark = pytest.mark.unit

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One accepted connection of the scripted server."""

    def __init__(self, socket: ServerConnection, number: int) -> None:
        self.socket = socket
        self.number = number

    async def take(self) -> object:
        return codec.decode_client(await self.socket.recv())

    async def give(self, *frames: ServerFrame) -> None:
        for frame in frames:
            await self.socket.send(codec.encode_pack(frame))

    async def greet(self) -> Hello:
        hello = await self.take()
        assert isinstance(hello, Hello)
        limits = Limits(frame=1, text=1, queued_turns=1, rate=1)
        await self.give(Welcome(session="s1", resumed=self.number > 1, gap=False, heartbeat_s=25, limits=limits))
        return hello


@contextlib.asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    count = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal count
        count += 1
        with contextlib.suppress(websockets.ConnectionClosed):
            await script(Peer(socket, count))

    protocols = [websockets.Subprotocol("parley.v1.msgpack"), websockets.Subprotocol("parley.v1.json")]
    async with websockets.serve(handle, "127.0.0.1", 0, subprotocols=protocols) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


def delta(seq: int, text: str) -> AnswerDelta:
    return AnswerDelta(turn="t1", seq=seq, position=f"p{seq}", text=text)


def done(seq: int, text: str, status: TurnStatus = TurnStatus.COMPLETED) -> Done:
    latency = Latency(accepted_ms=1, first_token_ms=2, total_ms=3)
    return Done(
        turn="t1", seq=seq, position=f"p{seq}", status=status, text=text, usage=None, sources=(), latency=latency
    )


async def test_a_dropped_connection_is_resumed_without_loss_or_doubling() -> None:
    hellos: list[Hello] = []
    starts = 0

    async def script(peer: Peer) -> None:
        nonlocal starts
        hellos.append(await peer.greet())
        if peer.number == 1:
            start = await peer.take()
            assert isinstance(start, TurnStart)
            starts += 1
            await peer.give(Accepted(turn="t1"), delta(0, "one "), delta(1, "two "))
            peer.socket.transport.abort()
        else:
            await peer.give(delta(1, "two "), delta(2, "three"), done(3, "one two three"))
            await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat:
        turn = await chat.ask("count", turn="t1")
        texts = [event.text async for event in turn if isinstance(event, AnswerDelta)]
    assert texts == ["one ", "two ", "three"]
    assert starts == 1
    assert hellos[1].session == "s1"
    assert hellos[1].position == "p1"
    assert hellos[1].pending == ("t1",)


async def test_a_turn_that_was_not_accepted_is_sent_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        start = await peer.take()
        assert isinstance(start, TurnStart)
        if peer.number == 1:
            peer.socket.transport.abort()
            return
        await peer.give(Accepted(turn=start.turn), done(0, ""))
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat:
        turn = await chat.ask("hi", turn="t1")
        assert (await turn.done()).status is TurnStatus.COMPLETED


async def test_cancel_reaches_the_server() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        await peer.give(Accepted(turn="t1"), delta(0, "part"))
        assert await peer.take() == TurnCancel(turn="t1")
        await peer.give(done(1, "part", TurnStatus.CANCELLED))
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat:
        turn = await chat.ask("hi", turn="t1")
        await turn.cancel()
        assert (await turn.done()).status is TurnStatus.CANCELLED


async def test_a_refused_turn_raises_where_it_was_asked() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        await peer.give(ErrorFrame(code="overloaded", message="full", retryable=True, retry_after_ms=500, turn="t1"))
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat:
        with pytest.raises(TurnRefused, match="full"):
            await chat.ask("hi", turn="t1")


@pytest.mark.parametrize("code", [4101, 4129])
async def test_a_close_code_of_the_4100_range_is_final(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.take()
        await peer.socket.close(code, "token expired")

    async with server(script) as url:
        with pytest.raises(Disconnected, match="token expired") as caught:
            async with connect(url):
                pytest.fail("connected")
    assert caught.value.code == code


async def test_draining_names_the_time_to_come_back() -> None:
    came_back = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        if peer.number == 1:
            await peer.give(Draining(reconnect_in_ms=1))
            await peer.socket.close(4001)
        else:
            came_back.set()
            await peer.socket.wait_closed()

    async with server(script) as url, connect(url), asyncio.timeout(5):
        await came_back.wait()


async def test_nothing_there_is_said_at_once_when_asked_to() -> None:
    with pytest.raises(Disconnected, match="task up"):
        async with connect("http://127.0.0.1:1", ClientOptions(wait_first=False)):
            pytest.fail("connected")


async def test_an_http_refusal_is_final_and_tells_the_reason() -> None:
    async def refuse(connection: ServerConnection, request: object) -> object:
        return connection.respond(403, "origin is not in PARLEY_ORIGINS\n")

    async def never(socket: ServerConnection) -> None:
        pytest.fail("accepted")

    async with websockets.serve(never, "127.0.0.1", 0, process_request=refuse) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(Disconnected, match="PARLEY_ORIGINS"):
            async with connect(f"ws://127.0.0.1:{port}"):
                pytest.fail("connected")


async def test_closing_the_client_ends_its_turns() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        await peer.give(Accepted(turn="t1"))
        await peer.socket.wait_closed()

    async with server(script) as url:
        async with connect(url) as chat:
            turn = await chat.ask("hi", turn="t1")
        with pytest.raises(ClientClosed):
            await turn.done()
        with pytest.raises(ClientClosed):
            await chat.ask("again")


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("http://h:1", "ws://h:1/v1/connect"),
        ("https://h/", "wss://h/v1/connect"),
        ("ws://h/p/v1/connect", "ws://h/p/v1/connect"),
    ],
)
def test_socket_addresses(given: str, want: str) -> None:
    assert socket_url(given) == want


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ClientError, match="is not an address"):
        socket_url("localhost:8000")
