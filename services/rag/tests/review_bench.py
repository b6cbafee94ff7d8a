"""The review consumers of rag processes on the in-memory broker and a real store, and a gateway that hears."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from parley_protocol.control import Audience, ReviewMoved
from parley_protocol.events import Source
from parley_protocol.reviews import ReadReview, ReviewStatus, Risk, RuleCited, Verdict
from parley_protocol.routes import WORK, Stage, topology
from parley_protocol.work import DocumentInfo
from parley_rag.documents import Limits
from parley_rag.ingest import Request, prepare
from parley_rag.intake import IntakeOptions
from parley_rag.reader import Bounds, DocumentReader
from parley_rag.retrieval import EmbeddedRetriever, IndexFollower
from parley_rag.review.assessor import Assessor, Brief
from parley_rag.review.ending import Endings
from parley_rag.review.playbook import PlaybookAssessor
from parley_rag.review.post import Post, message
from parley_rag.review.registry import Judge, ReviewSettings
from parley_rag.review.stages import ClauseAssessor, Parts, ReviewReader
from parley_rag.review.sweeper import ReviewSweeper
from parley_runtime.clock import SystemClock
from parley_runtime.control import ControlPlane
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store, StoredPassage
from parley_runtime.store.review_ports import NewReview, ReviewRow
from parley_testkit.memory import MemoryBroker
from parley_testkit.turns import Collector

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60.0


class Gateway(Collector):
    """Hears what gateways are told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[ReviewMoved] = []

    def on_moved(self, moved: ReviewMoved) -> None:
        self.heard.append(moved)
        self.changed()


class Scripted:
    """Judges as ``say`` does; counts the calls for each clause."""

    name = "scripted"

    def __init__(self, say: Callable[[str, int], Awaitable[tuple[Verdict, ...]]]) -> None:
        self._say = say
        self.calls: dict[str, int] = {}

    async def assess(self, clause: str, rules: Sequence[Source], brief: Brief) -> tuple[Verdict, ...]:
        self.calls[clause] = self.calls.get(clause, 0) + 1
        return await self._say(clause, self.calls[clause])

    async def close(self) -> None:
        return None


def verdict(reason: str) -> tuple[Verdict, ...]:
    return (Verdict(risk=Risk.LOW, reason=reason, rule=RuleCited(id="r", title="t", document="d")),)


class Process:
    """One rag process's part in reviews."""

    def __init__(self, reader: ReviewReader, assessor: ClauseAssessor, parts: Parts, stack: AsyncExitStack) -> None:
        self.reader, self.assessor, self.parts, self._stack = reader, assessor, parts, stack
        self.sweeper = ReviewSweeper(parts.store.reviews, parts.post, parts.endings, parts.settings)

    async def kill(self) -> None:
        """What it had taken returns to the queues."""
        await self.assessor.aclose()
        await self.reader.aclose()
        await self._stack.aclose()


class Bench:
    """Made by :func:`opened`."""

    def __init__(self, broker: MemoryBroker, store: Store, gateway: Gateway, stack: AsyncExitStack) -> None:
        self.broker, self.store, self.gateway, self.stack = broker, store, gateway, stack
        self.processes: list[Process] = []

    async def process(
        self, assessor: Assessor | None = None, settings: ReviewSettings | None = None, *, consume: bool = True
    ) -> Process:
        stack = AsyncExitStack()
        broker = self.broker.process(f"rag-{len(self.processes)}")
        control = await ControlPlane.open(broker, process_id=f"rag-{len(self.processes)}", audience=Audience.WORKERS)
        stack.push_async_callback(control.aclose)
        link = await broker.open("publish")
        stack.push_async_callback(link.close)
        post = Post(link, control)
        retriever = EmbeddedRetriever()
        parts = Parts(
            store=self.store,
            retriever=retriever,
            follower=IndexFollower(self.store, retriever, SystemClock()),
            reader=DocumentReader(Limits(), Bounds()),
            judge=Judge(assessor or PlaybookAssessor()),
            post=post,
            endings=Endings(self.store.reviews, post.tell),
            settings=settings or ReviewSettings(),
            intake=IntakeOptions(),
        )
        process = Process(ReviewReader(broker, parts), ClauseAssessor(broker, parts), parts, stack)
        self.processes.append(process)
        self.stack.push_async_callback(process.kill)
        if consume:
            await process.reader.start()
            await process.assessor.start()
        return process

    async def playbook(self, tenant: str = "default") -> None:
        """The sample playbook."""
        for path in sorted((ROOT / "sample" / "playbook").rglob("*.md")):
            name = path.relative_to(ROOT).as_posix()
            prepared = prepare(Request("playbook", name, "", path.read_bytes(), Limits()))
            passages = [
                StoredPassage(id=one.id, title=one.title, text=one.text, start=one.start, end=one.end)
                for one in prepared.passages
            ]
            info = DocumentInfo(path=name, title=prepared.title, digest=name, size=1, passages=0, updated_at="")
            await self.store.put_document(tenant, "playbook", info, passages)

    async def upload(
        self, text: str | bytes, *, role: str = "buyer", name: str = "", tenant: str = "default", send: bool = True
    ) -> int:
        data = text.encode() if isinstance(text, str) else text
        new = NewReview(
            tenant=tenant, contract_type="purchase", role=role, name=name, media_type="", data=data, digest="d"
        )
        row, _ = await self.store.reviews.create(new, limit=100)
        if send:
            await self.send(row.task, tenant)
        return row.task

    async def send(self, task: int, tenant: str = "default") -> None:
        link = await self.broker.process("gw-publish").open("publish")
        await link.publish(WORK, Stage.REVIEW, message(ReadReview(tenant=tenant, task=task)))
        await link.close()

    async def ended(self, task: int, tenant: str = "default", limit_s: float = LIMIT_S) -> ReviewRow:
        """The row, once the gateways have been told that it ended."""
        await self.gateway.until(
            lambda: any(one.task == task and one.status.ended for one in self.gateway.heard), limit_s=limit_s
        )
        row = await self.store.reviews.row(tenant, task)
        assert row is not None
        assert row.status.ended
        return row

    def told(self, task: int) -> list[tuple[ReviewStatus, int, int]]:
        return [(one.status, one.done, one.clauses) for one in self.gateway.heard if one.task == task]


async def opened(folder: Path, stack: AsyncExitStack) -> Bench:
    store = await open_store(f"sqlite+aiosqlite:///{folder / 'p.db'}")
    stack.push_async_callback(store.aclose)
    broker = MemoryBroker(topology())
    stack.push_async_callback(broker.close)
    gateway = Gateway()
    control = await ControlPlane.open(broker.process("gw"), process_id="gw", audience=Audience.GATEWAYS)
    control.on(ReviewMoved, gateway.on_moved)
    await control.start()
    stack.push_async_callback(control.aclose)
    return Bench(broker, store, gateway, stack)


async def forever() -> None:
    await asyncio.Event().wait()
