"""A stand-in gateway whose answers the test speaks: the real page, the real wire types, no broker.

Every frame of the page is decoded with the types of `parley_protocol.client`, so a frame that the real gateway
could not read fails the test.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from parley_gateway.api import page
from parley_protocol import client as wire
from parley_protocol.events import Hop, Source, TurnStatus, Usage
from parley_protocol.speech import AnswerAudio, encode_audio

T = TypeVar("T")
WAIT_S = 30.0
LIMITS = wire.Limits(frame=262_144, text=4_000, queued_turns=8, rate=20.0)

PASSAGES = (
    Source(
        id="p1",
        document="docs/guarantees.md",
        title="Guarantees: accepted means answered",
        score=7.31,
        text="## G1\n\nAfter `accepted`, a turn ends in **exactly one** terminal event. The row in the store is the "
        "terminal; every event is only news of it. Whatever single process is killed meanwhile, the watch of the "
        "gateway finds the row.",
        start=120,
        end=340,
    ),
    Source(
        id="p2",
        document="docs/zh/恢复.md",
        title="断线恢复",
        score=5.02,
        text="客户端带着会话与最后的位置回来。网关先读取存储中的记录，再请求快照，然后继续推送新的事件。窗口默认十分钟。",
        start=0,
        end=55,
    ),
)


class ScriptedTurn:
    """One turn as the server speaks it: numbers its own events. Events can be repeated from any number."""

    def __init__(self, peer: "Peer", turn: str, seq: int = 0) -> None:
        self.peer, self.turn, self.seq = peer, turn, seq

    def _next(self) -> dict[str, Any]:
        number = self.seq
        self.seq += 1
        return {"turn": self.turn, "seq": number, "position": f"{self.turn}:{number}"}

    async def accepted(self) -> None:
        await self.peer.send(wire.Accepted(turn=self.turn))

    async def status(self, stage: str) -> None:
        await self.peer.send(wire.StatusFrame(**self._next(), stage=stage))

    async def retrieval(self, sources: tuple[Source, ...] = PASSAGES) -> None:
        await self.peer.send(wire.RetrievalFrame(**self._next(), intent="question", route="retrieve", sources=sources))

    async def delta(self, text: str) -> None:
        await self.peer.send(wire.AnswerDelta(**self._next(), text=text))

    async def restarted(self, attempt: int) -> None:
        await self.peer.send(wire.Restarted(**self._next(), attempt=attempt))

    async def done(self, text: str, status: TurnStatus = TurnStatus.COMPLETED, **extra: Any) -> None:
        fields = {"sources": (), "usage": Usage(prompt_tokens=812, completion_tokens=64), "latency": LATENCY, **extra}
        await self.peer.send(wire.Done(**self._next(), status=status, text=text, **fields))

    async def whole(self, text: str, sources: tuple[Source, ...] = PASSAGES) -> None:
        """The turn from start to end in one go."""
        await self.accepted()
        await self.status("routing")
        await self.retrieval(sources)
        await self.delta(text)
        await self.done(text, sources=sources)


LATENCY = wire.Latency(
    accepted_ms=0.8,
    first_token_ms=6.4,
    total_ms=41.5,
    stages=(Hop("retrieve", 0.6, 2.9), Hop("generate", 0.5, 33.0, 1.1), Hop("record", 0.4, 2.2)),
)


class Peer:
    """One accepted socket of the page, after its `hello`."""

    def __init__(self, ws: WebSocket) -> None:
        self.ws = ws
        self.hello = wire.Hello()
        self.gone = asyncio.Event()
        self.arrived: list[Any] = []
        self.heard = bytearray()
        self.largest = 0
        """Bytes of one frame of audio, at most."""
        """Audio of the page's microphone."""
        self._frames: asyncio.Queue[Any] = asyncio.Queue()
        self._decoder = msgspec.json.Decoder(wire.ClientFrame)

    async def send(self, frame: wire.ServerFrame) -> None:
        await self.ws.send_text(msgspec.json.encode(frame).decode())

    async def audio(self, turn: str, at: int, rate: int, pcm: bytes, *, sentence: int = 0) -> None:
        """A frame of a spoken answer."""
        header = AnswerAudio(turn=turn, sentence=sentence, at=at, rate=rate)
        await self.ws.send_bytes(encode_audio(header, pcm))

    async def close(self, code: int) -> None:
        await self.ws.close(code)
        self.gone.set()

    async def frame(self, kind: type[T]) -> T:
        """The next frame of this kind; those of others before it are passed over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                frame = await self._frames.get()
                if isinstance(frame, kind):
                    return frame

    async def turn(self) -> tuple[wire.TurnStart, ScriptedTurn]:
        start = await self.frame(wire.TurnStart)
        return start, ScriptedTurn(self, start.turn)

    def frames(self, kind: type) -> list[Any]:
        """All of this kind that ever arrived."""
        return [frame for frame in self.arrived if isinstance(frame, kind)]

    async def serve(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = await self.ws.receive()
                if message["type"] == "websocket.disconnect":
                    break
                if message.get("bytes"):
                    self.heard += message["bytes"]
                    self.largest = max(self.largest, len(message["bytes"]))
                    continue
                frame = self._decoder.decode(message["text"])
                if isinstance(frame, wire.Ping):
                    await self.send(wire.Pong())
                self.arrived.append(frame)
                self._frames.put_nowait(frame)
        self.gone.set()


class ScriptedGateway:
    """Hands each socket of the page to the test. `refuse_with` closes new sockets with that code."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kb_status = 200
        self.refuse_with: int | None = None
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def peer(self, *, session: str = "s-1", resumed: bool | None = None, gap: bool = False) -> Peer:
        """The next socket, greeted. `resumed` defaults to whether the page named this session."""
        async with asyncio.timeout(WAIT_S):
            peer = await self._peers.get()
        back = peer.hello.session == session if resumed is None else resumed
        await peer.send(wire.Welcome(session=session, resumed=back, gap=gap, heartbeat_s=15.0, limits=LIMITS))
        return peer

    async def refused(self) -> Peer:
        """The next socket, closed with `refuse_with`."""
        async with asyncio.timeout(WAIT_S):
            peer = await self._peers.get()
        assert self.refuse_with is not None
        await peer.close(self.refuse_with)
        return peer

    async def connect(self, ws: WebSocket) -> None:
        await ws.accept()
        peer = Peer(ws)
        hello = msgspec.json.decode(await ws.receive_text(), type=wire.ClientFrame)
        assert isinstance(hello, wire.Hello), "the first frame must be hello"
        peer.hello = hello
        self._peers.put_nowait(peer)
        await peer.serve()

    async def bases(self, request: Any) -> Response:
        if self.kb_status != 200:
            return Response(status_code=self.kb_status)
        names = [("default", 12, 140), ("test", 12, 140)]
        return JSONResponse({"bases": [{"name": n, "documents": d, "passages": p} for n, d, p in names]})


class Cached:
    """Lets a browser keep the page's files for the whole run; that it asks for them anew is tested with the page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def lasting(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith("/assets/"):
                MutableHeaders(scope=message)["Cache-Control"] = "max-age=3600"
            await send(message)

        await self._app(scope, receive, lasting)


class Switch:
    """Serves the page at one address, and there one scripted gateway after another."""

    def __init__(self) -> None:
        self.url = ""
        self.gateway: ScriptedGateway | None = None

    def app(self) -> Starlette:
        own = [Route("/v1/kb", self._bases), WebSocketRoute("/v1/connect", self._connect)]
        return Starlette(routes=[*own, *page.routes()], middleware=[Middleware(Cached)])

    async def _bases(self, request: Any) -> Response:
        assert self.gateway is not None
        return await self.gateway.bases(request)

    async def _connect(self, ws: WebSocket) -> None:
        assert self.gateway is not None
        await self.gateway.connect(ws)


class QuietServer(uvicorn.Server):
    """Leaves the signals of the test process alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    """The address of the app, served on a free port; it accepts connections from the first moment."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
