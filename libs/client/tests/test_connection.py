"""The client against a scripted server on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from parley_client import ClientOptions, Disconnected, TurnRefused, connect
from parley_client.ending import socket_url
from parley_client.errors import ClientClosed, ClientError, TurnLost
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


async def test_leaving_on_purpose_is_a_normal_close() -> None:
    codes: asyncio.Queue[int | None] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.socket.wait_closed()
        codes.put_nowait(peer.socket.close_code)

    async with server(script) as url, asyncio.timeout(30):
        async with connect(url):
            pass
        assert await codes.get() == 1000


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


async def test_a_cancel_without_a_connection_is_sent_with_the_next_one() -> None:
    dropped = asyncio.Event()
    back = asyncio.Event()

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.greet()
            await peer.take()
            await peer.give(Accepted(turn="t1"))
            peer.socket.transport.abort()
            return
        await back.wait()
        await peer.greet()
        assert await peer.take() == TurnCancel(turn="t1")
        await peer.give(done(0, "", TurnStatus.CANCELLED))
        await peer.socket.wait_closed()

    options = ClientOptions(on_notice=lambda _: dropped.set())
    async with server(script) as url, connect(url, options) as chat, asyncio.timeout(30):
        turn = await chat.ask("hi", turn="t1")
        await dropped.wait()
        await turn.cancel()
        back.set()
        assert (await turn.done()).status is TurnStatus.CANCELLED


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_turn_whose_end_never_comes_is_lost_after_the_limit(accepted: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        if accepted:
            await peer.give(Accepted(turn="t1"), delta(0, "part"))
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url, ClientOptions(turn_s=0.2)) as chat, asyncio.timeout(30):
        with pytest.raises(TurnLost, match=r"within 0\.2 s"):
            await (await chat.ask("hi", turn="t1")).done()


async def test_a_deadline_shortens_the_wait_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley_client.connection.GRACE_S", 0.1)

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url, ClientOptions(turn_s=0)) as chat, asyncio.timeout(30):
        with pytest.raises(TurnLost, match=r"within 0\.2 s"):
            await chat.ask("hi", deadline_s=0.1)


async def test_a_session_that_the_server_does_not_know_is_told() -> None:
    notices: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.socket.wait_closed()

    options = ClientOptions(session="of before", on_notice=notices.append)
    async with server(script) as url, connect(url, options) as chat:
        assert chat.session == "s1"
    assert len(notices) == 1
    assert "does not know this session" in notices[0]


async def test_a_frame_that_is_too_large_for_the_server_ends_it_instead_of_being_sent_for_ever() -> None:
    connections = 0

    async def script(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.greet()
        await peer.take()
        await peer.socket.close(1009, "message too big")

    async with server(script) as url, connect(url) as chat, asyncio.timeout(30):
        with pytest.raises(Disconnected, match="message too big") as caught:
            await chat.ask("hi")
    assert (connections, caught.value.code) == (1, 1009)


async def test_a_frame_that_is_too_large_for_the_client_names_the_option() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        await peer.give(Accepted(turn="t1"), delta(0, "x" * 5000))
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url, ClientOptions(max_frame=2000)) as chat, asyncio.timeout(30):
        with pytest.raises(Disconnected, match="max_frame"):
            await (await chat.ask("hi", turn="t1")).done()


async def test_an_answer_that_is_complete_before_ask_returns_is_read_whole() -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.take()
        frames = (Accepted(turn="t1"), delta(0, "all at "), delta(1, "once"), done(2, "all at once"))
        data = b"".join(_unmasked(codec.encode_pack(frame)) for frame in frames)
        peer.socket.transport.write(data)  # in one segment, so that the client reads all before anyone wakes
        await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat, asyncio.timeout(30):
        turn = await chat.ask("hi", turn="t1")
        assert [type(event).__name__ async for event in turn] == ["AnswerDelta", "AnswerDelta", "Done"]


def _unmasked(payload: bytes) -> bytes:
    """One binary frame of a server (RFC 6455 section 5.2) with 16 bits of length."""
    return b"\x82\x7e" + len(payload).to_bytes(2, "big") + payload


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


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4001])
async def test_a_server_that_closes_otherwise_is_come_back_to(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.greet()
        if peer.number == 1:
            await peer.take()
            await peer.give(Accepted(turn="t1"))
            await peer.socket.close(code)
        else:
            await peer.give(done(0, ""))
            await peer.socket.wait_closed()

    async with server(script) as url, connect(url) as chat:
        turn = await chat.ask("count", turn="t1")
        assert (await turn.done()).status is TurnStatus.COMPLETED


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

    async with server(script) as url, connect(url), asyncio.timeout(30):
        await came_back.wait()


async def test_a_hello_refused_for_want_of_room_is_said_again_after_the_time_that_was_named() -> None:
    """Later than any first step of the back-off would be."""
    loop = asyncio.get_running_loop()
    refused: list[float] = []

    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.take()
            full = ErrorFrame(code="overloaded", message="full", retryable=True, retry_after_ms=1500)
            await peer.give(full)
            await peer.socket.close(4013)
            refused.append(loop.time())
        else:
            await peer.greet()
            await peer.socket.wait_closed()

    async with server(script) as url, asyncio.timeout(30), connect(url):
        assert loop.time() - refused[0] > 1.4


@pytest.mark.parametrize("status", [429, 503])
async def test_a_socket_refused_for_want_of_room_is_opened_again_after_the_time_that_was_named(status: int) -> None:
    """Later than any first step of the back-off would be."""
    loop = asyncio.get_running_loop()
    refused: list[float] = []

    async def refuse(connection: ServerConnection, request: object) -> object:
        if refused:
            return None
        refused.append(loop.time())
        response = connection.respond(status, "no room\n")
        response.headers["Retry-After"] = "1"
        return response

    async def serve(socket: ServerConnection) -> None:
        await Peer(socket, 2).greet()
        await socket.wait_closed()

    async with websockets.serve(serve, "127.0.0.1", 0, process_request=refuse) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with asyncio.timeout(30), connect(f"http://127.0.0.1:{port}"):
            assert loop.time() - refused[0] > 0.95


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
