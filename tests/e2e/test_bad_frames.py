"""What no client should send: each is answered in words or ends that socket, and nobody else notices."""

import asyncio
import json
import os
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from parley_protocol import codec
from parley_protocol.client import ErrorFrame, Hello, Ping, Pong, Welcome
from parley_testkit.stack import Stack

from .sockets import Socket, opened

pytestmark = pytest.mark.e2e

MAX_MESSAGE = 262_144
"""The default of PARLEY_MAX_MESSAGE."""
MAX_FRAGMENTS = 4096


@asynccontextmanager
async def neighbour(stack: Stack) -> AsyncIterator[None]:
    """Another session, which works before, meanwhile and afterwards."""
    async with opened(stack.url) as socket:
        await works(socket)
        meanwhile = asyncio.create_task(works(socket))
        yield
        await meanwhile
        await works(socket)


async def works(socket: Socket) -> None:
    turn = uuid.uuid4().hex
    await socket.start(turn, "When does the heating start?", kb="handbook")
    done = await socket.until_done(turn)
    assert done["status"] == "completed"


START = {"type": "turn.start", "turn": "t", "text": "why?"}

STAYS_OPEN = [
    pytest.param("{", "bad_frame", id="broken json"),
    pytest.param("", "bad_frame", id="nothing"),
    pytest.param("\x00\x01", "bad_frame", id="control characters"),
    pytest.param("[1, 2]", "bad_frame", id="a list"),
    pytest.param("null", "bad_frame", id="null"),
    pytest.param("{}", "bad_frame", id="no type"),
    pytest.param('{"type": 5}', "bad_frame", id="type is a number"),
    pytest.param('{"type": "turn.begin"}', "unknown_type", id="unknown kind"),
    pytest.param('{"type": "turn.start"}', "bad_frame", id="missing fields"),
    pytest.param(json.dumps(START | {"text": 7}), "bad_frame", id="text is a number"),
    pytest.param(json.dumps(START | {"deadline_ms": "soon"}), "bad_frame", id="deadline is a text"),
    pytest.param(json.dumps(START | {"deadline_ms": -1}), "invalid", id="deadline is negative"),
    pytest.param(json.dumps(START | {"turn": ""}), "invalid", id="turn is empty"),
    pytest.param(json.dumps(START | {"turn": "x" * 5000}), "invalid", id="turn is long"),
    pytest.param(json.dumps(START | {"kb": "x" * 5000}), "invalid", id="kb is long"),
    pytest.param("[" * 100_000 + "]" * 100_000, "bad_frame", id="nested 100,000 deep"),
    pytest.param(
        '{"type": "turn.start", "turn": "t", "text": "x", "context": ' + '{"a":' * 40_000, "bad_frame", id="deep"
    ),
    pytest.param('{"type": "ack", "position": "!"}', "bad_frame", id="position"),
    pytest.param('{"type": "audio.start", "turn": "a", "format": {"encoding": "mp3"}}', "unsupported", id="audio"),
    pytest.param(b"\xff\xfe\x00", "bad_frame", id="binary on a text socket"),
    pytest.param("x" * (MAX_MESSAGE + 1), "too_large", id="over the limit"),
    pytest.param("x" * 10_000_000, "too_large", id="10 MB"),
]


async def test_bad_frames_are_answered_and_the_socket_stays_open(stack: Stack) -> None:
    async with neighbour(stack), opened(stack.url) as socket:
        for case in STAYS_OPEN:
            data, code = case.values
            await socket.ws.send(data)
            error = await socket.until("error")
            assert error["code"] == code, case.id
            assert len(error["message"]) > 10, case.id
            assert "Traceback" not in error["message"]
        await works(socket)


async def test_the_same_on_a_messagepack_socket(stack: Stack) -> None:
    async with (
        neighbour(stack),
        connect(
            stack.url.replace("http", "ws") + "/v1/connect",
            subprotocols=["parley.v1.msgpack"],  # type: ignore[list-item]  # plain texts
            proxy=None,
        ) as ws,
    ):
        await ws.send(codec.encode_pack(Hello()))
        assert isinstance(codec.decode_server(await ws.recv()), Welcome)
        for data in (b"", b"\xc1", b"\xff" * 100, b"\x91" * 100_000, os.urandom(5000), "{}"):
            await ws.send(data)
            frame = codec.decode_server(await ws.recv())
            assert isinstance(frame, ErrorFrame)
            assert frame.code in ("bad_frame", "unknown_type")
        await ws.send(codec.encode_pack(Ping()))
        assert isinstance(codec.decode_server(await ws.recv()), Pong)


async def test_a_message_beyond_all_bounds_ends_the_socket(stack: Stack) -> None:
    async with neighbour(stack), opened(stack.url) as socket:
        with suppress(ConnectionClosed):
            await socket.ws.send("x" * (17 * 1024 * 1024))
        code, _ = await socket.closed()
    assert code == 1009


async def test_too_many_fragments_end_the_socket(stack: Stack) -> None:
    async with neighbour(stack), opened(stack.url) as socket:
        first, more = Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.CONT, b"x", fin=False)
        parts = [first, *[more] * MAX_FRAGMENTS]
        socket.ws.transport.write(b"".join(part.serialize(mask=True, extensions=[]) for part in parts))
        code, _ = await socket.closed()
    assert code == 1009


async def test_endless_fragments_end_the_socket(stack: Stack) -> None:
    def fragments() -> Iterator[str]:
        while True:
            yield "x"

    async with neighbour(stack), opened(stack.url) as socket:
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionClosed):
                await socket.ws.send(fragments())
        await socket.ws.wait_closed()
    # The close frame may be lost: the kernel resets a connection that is closed while more is coming in.
    assert socket.ws.close_code in (1009, 1006)


async def test_compression_is_not_negotiated_and_a_bomb_does_nothing(stack: Stack) -> None:
    address = stack.url.replace("http", "ws") + "/v1/connect"
    async with neighbour(stack):
        async with connect(address, compression="deflate", proxy=None) as ws:
            assert "Sec-WebSocket-Extensions" not in ws.response.headers  # type: ignore[union-attr]
        async with opened(stack.url) as socket:
            bomb = zlib.compressobj(wbits=-15)
            data = bomb.compress(b" " * 50_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
            frame = bytearray(Frame(Opcode.TEXT, data[:-4]).serialize(mask=True, extensions=[]))
            frame[0] |= 0x40  # "this message is compressed"
            socket.ws.transport.write(bytes(frame))
            code, _ = await socket.closed()
    assert code == 1002


async def test_a_first_frame_that_is_no_hello_closes_with_4108(stack: Stack) -> None:
    async with neighbour(stack), opened(stack.url, greet=False) as socket:
        await socket.start("t1")
        code, reason = await socket.closed()
    assert code == 4108
    assert "hello" in reason
    assert [frame["code"] for frame in socket.frames] == ["no_hello"]


async def test_a_second_hello_closes_with_4109(stack: Stack) -> None:
    async with neighbour(stack), opened(stack.url) as socket:
        await socket.send(type="hello")
        code, _ = await socket.closed()
    assert code == 4109
    assert socket.frames[-1]["code"] == "bad_frame"


async def test_silence_instead_of_hello_closes_with_4108(stack: Stack) -> None:
    gateway = stack.add("gateway", PARLEY_HELLO_S="0.5")
    try:
        await asyncio.to_thread(gateway.wait_ready)
        async with opened(gateway.url, greet=False) as socket:
            code, reason = await socket.closed()
        assert (code, "hello" in reason) == (4108, True)
    finally:
        stack.services.remove(gateway)
        await asyncio.to_thread(gateway.end)


async def test_an_unknown_socket_path_is_404_with_those_there_are(stack: Stack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(stack.url.replace("http", "ws") + "/v2/connect", proxy=None):
            pass
    assert refused.value.response.status_code == 404
    assert b"/v1/connect" in (refused.value.response.body or b"")
