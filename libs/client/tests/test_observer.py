"""An observer hears everything on the wire, in order and before anything is judged."""

import contextlib
from collections.abc import AsyncIterator

import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from parley_client import ClientOptions, Done, connect
from parley_protocol import codec
from parley_protocol.client import Accepted, Hello, Latency, Limits, ServerFrame, TurnStart, Welcome
from parley_protocol.events import TurnStatus

pytestmark = pytest.mark.unit

LIMITS = Limits(frame=1, text=1, queued_turns=1, rate=1)
DONE = Done(
    turn="t1",
    seq=0,
    position="p0",
    status=TurnStatus.COMPLETED,
    text="",
    usage=None,
    sources=(),
    latency=Latency(accepted_ms=1, first_token_ms=2, total_ms=3),
)


class Heard:
    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def opened(self, socket: int) -> None:
        self.lines.append(("opened", socket))

    def sent(self, socket: int, data: str | bytes) -> None:
        self.lines.append(("sent", socket, codec.decode_client(data)))

    def received(self, socket: int, data: str | bytes) -> None:
        self.lines.append(("received", socket, codec.decode_server(data)))

    def closed(self, socket: int, code: int, *, own: bool) -> None:
        self.lines.append(("closed", socket, code, own))


@contextlib.asynccontextmanager
async def server(ends: list[int]) -> AsyncIterator[str]:
    """Connection k is closed with ``ends[k]`` after ``accepted``; 0 resets it; later ones are told the end."""
    count = 0

    async def handle(socket: ServerConnection) -> None:
        nonlocal count
        number, count = count, count + 1
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.recv()
            await give(socket, Welcome(session="s1", resumed=number > 0, gap=False, heartbeat_s=25, limits=LIMITS))
            if number == 0:
                await socket.recv()
                await give(socket, Accepted(turn="t1"))
            if number >= len(ends):
                await give(socket, DONE)
                await socket.wait_closed()
            elif ends[number]:
                await socket.close(ends[number])
            else:
                socket.transport.abort()

    protocols = [websockets.Subprotocol("parley.v1.msgpack")]
    async with websockets.serve(handle, "127.0.0.1", 0, subprotocols=protocols) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


async def give(socket: ServerConnection, frame: ServerFrame) -> None:
    await socket.send(codec.encode_pack(frame))


async def test_frames_both_ways_and_how_each_connection_ended() -> None:
    heard = Heard()
    async with server([4001, 0]) as url, connect(url, ClientOptions(observer=heard)) as chat:
        await (await chat.ask("hi", turn="t1")).done()
    assert heard.lines == [
        ("opened", 1),
        ("sent", 1, Hello()),
        ("received", 1, Welcome(session="s1", resumed=False, gap=False, heartbeat_s=25, limits=LIMITS)),
        ("sent", 1, TurnStart(turn="t1", text="hi")),
        ("received", 1, Accepted(turn="t1")),
        ("closed", 1, 4001, False),
        ("opened", 2),
        ("sent", 2, Hello(session="s1", pending=("t1",))),
        ("received", 2, Welcome(session="s1", resumed=True, gap=False, heartbeat_s=25, limits=LIMITS)),
        ("closed", 2, 1006, False),
        ("opened", 3),
        ("sent", 3, Hello(session="s1", pending=("t1",))),
        ("received", 3, Welcome(session="s1", resumed=True, gap=False, heartbeat_s=25, limits=LIMITS)),
        ("received", 3, DONE),
        ("closed", 3, 1000, True),
    ]
