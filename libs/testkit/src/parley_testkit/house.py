"""A whole installation without a network: in-memory broker, SQLite store, one gateway, workers as a test adds them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from parley_protocol.control import Audience
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage, topology
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.control import ControlPlane
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.work.options import WorkerOptions
from parley_runtime.worker import Worker, open_worker
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import FakeGateway, JobTap

KEY = TurnKey("default", "s1", "t1")


def question(**changes: Any) -> Retrieve:
    """A first-stage job of :data:`KEY` that gateway ``gw`` follows."""
    values: dict[str, Any] = {
        "key": KEY,
        "submission": "sub-1",
        "digest": "d1",
        "budget_s": 30.0,
        "reply_to": ("gw",),
        "question": "Who?",
    }
    return Retrieve(**(values | changes))


def other(turn: str = "t2") -> TurnKey:
    """Another turn of the same session."""
    return TurnKey("default", "s1", turn)


def prompt(**changes: Any) -> Generate:
    """A generation job of :data:`KEY` that gateway ``gw`` follows."""
    values: dict[str, Any] = {
        "key": KEY,
        "submission": "sub-1",
        "base": 1,
        "fence": 1,
        "budget_s": 30.0,
        "reply_to": ("gw",),
        "question": "Who?",
        "prompt": (ChatMessage("user", "Who?"),),
    }
    return Generate(**(values | changes))


class Script:
    """Says ``words``, one for each permit, then records. ``prefixes`` keeps what each run was given."""

    def __init__(self, *words: str, resumes: bool = False, permits: int = 0) -> None:
        self.words = words
        self.resumes = resumes
        self.permits = asyncio.Semaphore(permits)
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.prefixes: list[str] = []
        self.runs: list[Run[Generate]] = []

    async def __call__(self, run: Run[Generate]) -> Record:
        self.prefixes.append(run.prefix)
        self.runs.append(run)
        words = self.words
        if self.resumes and run.prefix:
            run.resume(run.prefix)
        self.entered.set()
        try:
            for word in words:
                await self.permits.acquire()
                run.delta(word)
            await self.permits.acquire()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return record(run)

    def allow(self, count: int = 1) -> None:
        """Give ``count`` permits."""
        for _ in range(count):
            self.permits.release()


def scripted(script: Script, seats: int = 1) -> StageSpec[Generate]:
    """The generation stage with ``script`` for its handler."""
    return StageSpec(Stage.GENERATE, Generate, seats, script)


class Door:
    """A first stage that can be held up."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self, run: Run[Retrieve]) -> Generate:
        self.entered.set()
        await self.open.wait()
        return following(run, [])


def first_stage(door: Door) -> StageSpec[Retrieve]:
    """The first stage with ``door`` for its handler."""
    return StageSpec(Stage.RETRIEVE, Retrieve, 1, door, first=True)


class House:
    """The installation; see :func:`open_house`."""

    def __init__(self, stack: AsyncExitStack, broker: MemoryBroker, store: Store, gateway: FakeGateway) -> None:
        self.broker = broker
        self.store = store
        self.gateway = gateway
        self._stack = stack

    async def worker(self, *stages: StageSpec[Any], name: str = "w1", options: WorkerOptions | None = None) -> Worker:
        """A worker process ``name`` that consumes ``stages`` until the test ends."""
        process = self.broker.process(name)
        control = await ControlPlane.open(process, process_id=name, audience=Audience.WORKERS)
        self._stack.push_async_callback(control.aclose)
        return await self._stack.enter_async_context(
            open_worker(stages, broker=process, store=self.store, control=control, options=options)
        )

    async def another_gateway(self, name: str) -> FakeGateway:
        """One more gateway."""
        gateway = await FakeGateway.open(self.broker.process(name), name)
        self._stack.push_async_callback(gateway.close)
        return gateway

    async def tap(self, queue: str) -> JobTap:
        """Take the messages of a stage's queue, or of the one so named, away and keep them."""
        return await JobTap.open(self.broker.process("tap"), queue)

    async def claim(self, submission: str = "sub-1", digest: str = "d1") -> None:
        """The row of :data:`KEY`, opened by another run's claim."""
        await self.store.claim_first(KEY, submission=submission, digest=digest, question="Who?")


@asynccontextmanager
async def open_house(folder: Path) -> AsyncIterator[House]:
    """A house whose store lies in ``folder``."""
    async with AsyncExitStack() as stack:
        broker = MemoryBroker(topology())
        stack.push_async_callback(broker.close)
        store = await open_store(f"sqlite+aiosqlite:///{folder}/parley.db")
        stack.push_async_callback(store.aclose)
        gateway = await FakeGateway.open(broker.process("gw"), "gw")
        stack.push_async_callback(gateway.close)
        yield House(stack, broker, store, gateway)
