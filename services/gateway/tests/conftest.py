"""A whole gateway on the in-memory broker and a real store, a worker that does what a test says, and a socket client
that checks what every client is promised.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_gateway.app import Gateway, compose
from parley_gateway.config import AccessSettings, GatewaySettings, LimitSettings, ServerSettings, TurnSettings
from parley_gateway.dialects.settings import (
    AsrSettings,
    ContactSettings,
    RealtimeSettings,
    ReviewSettings,
    TutorSettings,
)
from parley_gateway.voice.config import EarlySettings, EarSettings, FloorSettings
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_protocol import codec
from parley_protocol.control import Attach, Audience, Begin, Leave, Prefix, Stop
from parley_protocol.events import Batch, Delta, Ending, Event, Status, Terminal, TurnEvents, TurnStatus
from parley_protocol.routes import EVENTS, stage_queue, topology
from parley_protocol.speech import AnswerAudio, decode_audio
from parley_protocol.work import Job, Record, Retrieve
from parley_runtime.answering import EngineChoice
from parley_runtime.control import ControlPlane
from parley_runtime.ports import Broker, Delivery, Link, Message, Subscription
from parley_runtime.process import Process
from parley_runtime.settings import CommonSettings
from parley_runtime.store import open_store
from parley_runtime.store.ports import AlreadyClosed, Claimed, Store, Stored
from parley_runtime.telemetry import metrics
from parley_runtime.work.envelope import terminal_of
from parley_testkit.memory import MemoryBroker

LIMIT_S = 30.0


def counted(name: str, **labels: str) -> float:
    """A metric's value, read from what is exposed."""
    wanted = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
    for line in metrics.render().decode().splitlines():
        if line.startswith(f"{name}{wanted} "):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


class Inbox:
    """Things in order of arrival; waiting has a deadline."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        self.all.append(item)
        self._queue.put_nowait(item)

    async def get(self, kind: type[Any] | None = None) -> Any:
        """The next one (of ``kind``)."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                item = await self._queue.get()
                if kind is None or isinstance(item, kind):
                    return item


@dataclass
class Worker:
    """Takes jobs, records what it is told to record, and says what the test says."""

    store: Store
    publisher: Link
    control: ControlPlane
    name: str = "worker-1"
    jobs: Inbox = field(default_factory=Inbox)
    heard: Inbox = field(default_factory=Inbox)
    record: bool = True
    """Whether records are stored and told of; off: they are only received."""
    records: Inbox = field(default_factory=Inbox)
    headers: list[dict[str, Any]] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def on_delivery(self, delivery: Delivery) -> None:
        self.headers.append(dict(delivery.headers))
        task = asyncio.create_task(self._take(delivery))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _take(self, delivery: Delivery) -> None:
        job = codec.unpack_job(delivery.body)
        if isinstance(job, Retrieve):
            claim = await self.store.claim_first(
                job.key, submission=job.submission, digest=job.digest, question=job.question
            )
            if isinstance(claim, AlreadyClosed):
                await self.emit(job, terminal_of(claim.row), fence=claim.row.fence)
            elif isinstance(claim, Claimed):
                self.jobs.put(msgspec.structs.replace(job, base=claim.base, fence=claim.fence))
        elif isinstance(job, Record):
            self.records.put(job)
            if self.record:
                await self.close(job)
        await delivery.ack()

    async def close(self, record: Record) -> None:
        """What the recorder does."""
        closing = await self.store.close(record)
        assert isinstance(closing, Stored | AlreadyClosed)
        row = closing.row
        await self.emit(record, terminal_of(row), fence=row.fence)

    async def emit(self, job: Job, *events: Event, fence: int | None = None) -> None:
        """One batch to every gateway of the job."""
        number = job.fence if fence is None else fence
        batch = codec.pack(Batch((TurnEvents(job.key, number, events, self.name),)))
        for gateway in job.reply_to:
            await self.publisher.publish(EVENTS, gateway, Message(batch, durable=False), mandatory=False)

    async def tell(self, job: Job, status: TurnStatus, text: str, n: int) -> None:
        await self.emit(job, Terminal(n, status, text))

    async def answer(self, job: Job, *words: str) -> None:
        """A whole answer: status, deltas, record, terminal."""
        at, n = 0, 1
        await self.emit(job, Status(0, "generating"))
        for word in words:
            await self.emit(job, Delta(n, at, word))
            at, n = at + len(word), n + 1
        await self.finish(job, "".join(words), n)

    async def finish(
        self, job: Job, text: str, n: int, *, fence: int | None = None, ending: Ending | None = None
    ) -> None:
        """Record a complete answer."""
        await self.close(self.record_of(job, text, n, fence=fence, ending=ending))

    def record_of(
        self, job: Job, text: str, n: int, *, fence: int | None = None, ending: Ending | None = None
    ) -> Record:
        """The record of a complete answer."""
        return Record(
            key=job.key,
            submission=job.submission,
            budget_s=1.0,
            base=job.base,
            fence=job.fence if fence is None else fence,
            n=n,
            reply_to=job.reply_to,
            question=job.question,
            status=TurnStatus.COMPLETED,
            text=text,
            ending=ending,
        )


class Client:
    """A socket that remembers, and refuses what no client may ever see."""

    def __init__(self, socket: ClientConnection, *, known: "dict[str, Seen] | None" = None) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.seen: dict[str, Seen] = known if known is not None else {}
        self.session = ""
        self.position: str | None = None
        self.audio: list[tuple[AnswerAudio, bytes]] = []
        self._audio_at: dict[str, int] = {}

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.send(type="hello", **fields)
        welcome = await self.until("welcome")
        self.session = welcome["session"]
        return welcome

    async def start(self, turn: str, text: str = "why?", **fields: Any) -> None:
        await self.send(type="turn.start", turn=turn, text=text, **fields)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            data = await self.socket.recv()
        if isinstance(data, bytes):
            return self._hear(*decode_audio(data))
        frame: dict[str, Any] = json.loads(data)
        self.frames.append(frame)
        if frame["type"] == "answer.flush":
            self._audio_at.pop(frame["turn"], None)
        if "seq" in frame:
            self.seen.setdefault(frame["turn"], Seen()).take(frame)
            self.position = frame["position"]
        return frame

    def _hear(self, header: AnswerAudio, pcm: bytes) -> dict[str, Any]:
        """Audio has no gap and no repetition, but behind a flush."""
        assert header.at == self._audio_at.get(header.turn, header.at)
        assert header.turn in self._audio_at or header.at == 0 or "answer.flush" in {f["type"] for f in self.frames}
        self._audio_at[header.turn] = header.at + len(pcm) // 2
        self.audio.append((header, pcm))
        return {"type": "answer.audio", "turn": header.turn, "at": header.at}

    async def until(self, kind: str, turn: str | None = None) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if frame["type"] == kind and (turn is None or frame.get("turn") == turn):
                return frame

    async def until_text(self, turn: str, text: str) -> None:
        while turn not in self.seen or self.seen[turn].text != text:
            await self.next()

    async def closed(self) -> int:
        """The close code, once everything before it has been read."""
        async with asyncio.timeout(LIMIT_S):
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code


@dataclass
class Seen:
    """What a client has of one turn."""

    next_seq: int = 0
    text: str = ""
    restarts: int = 0
    done: dict[str, Any] | None = None
    statuses: list[str] = field(default_factory=list)

    def take(self, frame: dict[str, Any]) -> None:
        assert self.done is None, f"a frame after done: {frame}"
        assert frame["seq"] == self.next_seq, f"expected seq {self.next_seq}: {frame}"
        self.next_seq += 1
        match frame["type"]:
            case "answer.delta":
                self.text += frame["text"]
            case "turn.restarted":
                self.text = ""
                self.restarts += 1
            case "turn.status":
                self.statuses.append(frame["stage"])
            case "turn.done":
                assert frame["text"] == self.text
                self.done = frame


@dataclass
class House:
    """One broker, one store, one worker, as many gateways as the test opens."""

    broker: Any
    store: Store
    worker: Worker
    folder: Path
    stack: AsyncExitStack

    async def gateway(
        self,
        name: str = "gateway-1",
        *,
        limits: LimitSettings | None = None,
        turns: TurnSettings | None = None,
        access: AccessSettings | None = None,
        contact: ContactSettings | None = None,
        reviews: ReviewSettings | None = None,
        tutor: TutorSettings | None = None,
        asr: AsrSettings | None = None,
        realtime: RealtimeSettings | None = None,
        engine: EngineChoice | None = None,
        ears: EarSettings | None = None,
        mouths: MouthSettings | None = None,
        early: EarlySettings | None = None,
        floor: FloorSettings | None = None,
        **server: Any,
    ) -> Gateway:
        common = CommonSettings(process_id=name)
        settings = GatewaySettings(
            common=common,
            server=ServerSettings(port=0, data=str(self.folder), **server),
            limits=limits or LimitSettings(connect_rate=0),
            turns=turns or TurnSettings(),
            access=access or AccessSettings(),
            contact=contact or ContactSettings(),
            reviews=reviews or ReviewSettings(),
            tutor=tutor or TutorSettings(),
            asr=asr or AsrSettings(),
            realtime=realtime or RealtimeSettings(modality="text"),
            engine=engine or EngineChoice(),
            ears=ears or EarSettings(),
            mouths=mouths or MouthSettings(),
            early=early or EarlySettings(),
            floor=floor or FloorSettings(),
        )
        process = Process("gateway", common)
        gateway = await self.stack.enter_async_context(
            compose(process, settings, self.broker.process(name), self.store)
        )
        process.started.set()
        return gateway

    @asynccontextmanager
    async def client(
        self, gateway: Gateway, *, greet: bool = True, known: dict[str, Seen] | None = None, **options: Any
    ) -> AsyncIterator[Client]:
        async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect", **options) as socket:
            client = Client(socket, known=known)
            if greet:
                await client.hello()
            yield client


async def _open(broker: Any, folder: Path, stack: AsyncExitStack) -> House:
    store = await open_store(f"sqlite+aiosqlite:///{folder / 'parley.db'}")
    stack.push_async_callback(store.aclose)
    return House(broker, store, await _worker(broker.process("worker-1"), store, stack), folder, stack)


@pytest.fixture
def open_house() -> Callable[[Any, Path, AsyncExitStack], Awaitable[House]]:
    """A house on any broker whose ``process(name)`` is a broker."""
    return _open


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        broker = MemoryBroker(topology())
        stack.push_async_callback(broker.close)
        yield await _open(broker, tmp_path, stack)


async def _worker(broker: Broker, store: Store, stack: AsyncExitStack) -> Worker:
    control = await ControlPlane.open(broker, process_id="worker-1", audience=Audience.WORKERS)
    stack.push_async_callback(control.aclose)
    worker = Worker(store, await broker.open("publish"), control)
    kinds: tuple[type[Any], ...] = (Attach, Begin, Leave, Prefix, Stop)
    for kind in kinds:
        control.on(kind, worker.heard.put)
    await control.start()
    for name in ("retrieve", "record"):
        link = await broker.open(name)
        subscription = await _consume(link, stage_queue(name), worker.on_delivery)
        stack.push_async_callback(subscription.cancel)
    return worker


async def _consume(link: Link, queue: str, handler: Callable[[Delivery], None]) -> Subscription:
    spec = next(each for each in topology().queues if each.name == queue)
    subscription = await link.subscribe(lambda: spec, handler, prefetch=50)
    await subscription.wait_consuming(30)
    return subscription
