"""Commands on knowledge bases and measured data: taken from the knowledge queue, each answered by one reply to the
gateway that asked.

At least once: a command may be carried out twice, with the same result. The reply is sent before the command is
acknowledged; a reply that nobody takes within a second is counted and dropped, since the gateway has given up by then.
Commands that overlap in time are carried out in no fixed order.
"""

import hashlib
import time
from contextlib import AbstractContextManager, nullcontext
from typing import assert_never

import msgspec

from parley_protocol import codec
from parley_protocol.events import Fault, Reply
from parley_protocol.faults import ProtocolError
from parley_protocol.readings import DropReadings, PutReadings
from parley_protocol.routes import EVENTS, Stage, Topology, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_protocol.work import (
    DeleteDocument,
    DocumentInfo,
    DropDead,
    KnowledgeCommand,
    KnowledgeReply,
    ListDead,
    ListDocuments,
    PutDocument,
    SearchPassages,
)
from parley_rag.data.desk import DataDesk, DataSettings
from parley_rag.finding import Finder
from parley_rag.handler import base_is_empty
from parley_rag.intake import Intake
from parley_rag.reader import DocumentReader
from parley_rag.retrieval import IndexFollower, Query, Retriever
from parley_runtime.errors import Invalid, ParleyError
from parley_runtime.ports import Broker, Delivery, Headers, Link, Message
from parley_runtime.retry import fault_of
from parley_runtime.store.ports import Store, StoredPassage
from parley_runtime.telemetry import metrics, names, tracing
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

HEADERS: Headers = {"parley-kind": "reply", "parley-v": 1}
PREFETCH = 8
"""Commands in hand at a time; documents among them are read ``PARLEY_READ_AT_ONCE`` side by side."""
REPLY_S = 1.0
MAX_NAME = 64
MAX_PATH = 1_024
MAX_SOURCES = 50
MAX_PAGE = 1_000


class KnowledgeDesk:
    """Carries out one command. Used by :class:`KnowledgeService` and by tests."""

    def __init__(
        self,
        store: Store,
        retriever: Retriever,
        follower: IndexFollower,
        reader: DocumentReader,
        data: DataDesk | None = None,
        finder: Finder | None = None,
    ) -> None:
        """``finder``: finds what turns find, ahead of them; None: nothing is found ahead."""
        self._store = store
        self._finder = finder
        self._data = data or DataDesk(store.readings, DataSettings(), time.time)
        self._retriever = retriever
        self._follower = follower
        self._reader = reader

    async def carry_out(self, command: KnowledgeCommand) -> KnowledgeReply:
        """What the command asked for. After a put or delete this process's index shows it at once.

        Raises:
            Invalid: a name or a document that cannot be used.
            UnknownBase: the base does not exist.
            Unavailable: store or index cannot be reached.
        """
        match command:
            case PutDocument():
                return KnowledgeReply(documents=(await self._put(command),))
            case DeleteDocument():
                removed = await self._store.delete_document(command.tenant, command.kb, command.path)
                await self._follower.catch_up()
                return KnowledgeReply(removed=removed)
            case ListDocuments():
                return await self._list(command)
            case SearchPassages():
                return await self._search(command)
            case ListDead() | DropDead():
                return await self._dead(command)
            case PutReadings() | DropReadings():
                return await self._data.carry_out(command)
            case _:
                assert_never(command)

    async def _dead(self, command: ListDead | DropDead) -> KnowledgeReply:
        if isinstance(command, ListDead):
            limit = _bounded(command.limit, MAX_PAGE)
            dead = await self._store.dead(limit=limit, id=command.id, before=command.before)
            return KnowledgeReply(dead=tuple(dead))
        dropped = await self._store.drop_dead(command.id)
        log.info("dead letter dropped" if dropped else "no such dead letter to drop", id=command.id)
        return KnowledgeReply(removed=dropped)

    async def _put(self, command: PutDocument) -> DocumentInfo:
        try:
            info = await self._stored(command)
        except ParleyError:
            metrics.counter(names.INGESTED).labels("refused").inc()
            raise
        metrics.counter(names.INGESTED).labels(info.outcome).inc()
        return info

    async def _stored(self, command: PutDocument) -> DocumentInfo:
        _check_name(command.kb)
        _check_path(command.path)
        digest = hashlib.sha256(command.data).hexdigest()
        known = await self._store.document(command.tenant, command.kb, command.path)
        if known is not None and known.digest == digest:
            return msgspec.structs.replace(known, outcome="unchanged")
        prepared = await self._reader.read(command.kb, command.path, command.media_type, command.data)
        info = DocumentInfo(
            path=command.path,
            title=prepared.title,
            digest=digest,
            size=len(command.data),
            passages=len(prepared.passages),
            updated_at="",
        )
        passages = [msgspec.convert(passage, StoredPassage, from_attributes=True) for passage in prepared.passages]
        stored = await self._store.put_document(command.tenant, command.kb, info, passages)
        await self._follower.catch_up()
        return stored

    async def _list(self, command: ListDocuments) -> KnowledgeReply:
        if not command.kb:
            return KnowledgeReply(bases=tuple(await self._store.bases(command.tenant)))
        limit = _bounded(command.limit, MAX_PAGE)
        documents = await self._store.documents(command.tenant, command.kb, after=command.after, limit=limit)
        if not documents and not command.after:
            await base_is_empty(self._store, command.tenant, command.kb)
        return KnowledgeReply(documents=tuple(documents))

    async def _search(self, command: SearchPassages) -> KnowledgeReply:
        if command.foreseen is not None:
            return KnowledgeReply(early=None if self._finder is None else await self._finder.ahead(command))
        limit = _bounded(command.limit, MAX_SOURCES)
        sources = await self._retriever.search(command.tenant, command.kb, Query(command.query), limit)
        if not sources:
            await base_is_empty(self._store, command.tenant, command.kb)
        return KnowledgeReply(sources=tuple(sources))


class KnowledgeService:
    """Consumes the knowledge queue on a link of its own."""

    def __init__(self, desk: KnowledgeDesk, replies: Link, declared: Topology | None = None) -> None:
        """``declared``: the broker's, where it is not the default one (the admission limit is in its arguments)."""
        self._desk = desk
        self._queue = (declared or default_topology()).queue(stage_queue(Stage.KNOWLEDGE))
        self._replies = replies
        self._intake: Intake | None = None

    async def start(self, broker: Broker, *, wait_s: float = 30.0) -> None:
        """Raises Unavailable unless commands are being consumed within ``wait_s``."""
        self._intake = Intake(broker, self._queue, self._serve, prefetch=PREFETCH)
        await self._intake.start(wait_s=wait_s)

    def check(self) -> str | None:
        """For readiness."""
        consuming = self._intake is not None and self._intake.consuming
        return None if consuming else "not consuming knowledge-base commands"

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new; let commands in hand finish. Those that do not are redelivered."""
        if self._intake is not None:
            await self._intake.drain(deadline_s)

    async def aclose(self) -> None:
        """End what still runs and close the link. Idempotent."""
        if self._intake is not None:
            await self._intake.aclose()

    async def _serve(self, delivery: Delivery) -> None:
        try:
            command = codec.unpack_knowledge(delivery.body)
        except ProtocolError as error:
            metrics.counter(names.UNDECODABLE).labels(Stage.KNOWLEDGE.value).inc()
            log.warning("knowledge command cannot be used; dead-lettered", reason=error.code.value)
            await delivery.reject()
            return
        with _traced(delivery.headers):
            await self._answer(command, await self._outcome(command))
        await delivery.ack()

    async def _outcome(self, command: KnowledgeCommand) -> KnowledgeReply | Fault:
        kind = type(command).__name__
        try:
            return await self._desk.carry_out(command)
        except ParleyError as error:
            log.info("knowledge command refused", command=kind, code=error.code.value, call=command.call)
            return error.fault()
        except Exception as error:
            log.exception("knowledge command failed on a defect", command=kind, call=command.call)
            return fault_of(error)

    async def _answer(self, command: KnowledgeCommand, outcome: KnowledgeReply | Fault) -> None:
        reply = (
            Reply(command.call, fault=outcome)
            if isinstance(outcome, Fault)
            else Reply(command.call, codec.pack(outcome))
        )
        message = Message(codec.pack(reply), HEADERS, expires_s=30.0, durable=False)
        try:
            await self._replies.publish(EVENTS, command.reply_to, message, timeout_s=REPLY_S)
        except ParleyError as error:
            metrics.counter(names.EVENTS_DROPPED).labels("reply").inc()
            log.warning("reply dropped: its gateway cannot be reached", call=command.call, error=type(error).__name__)


def _traced(headers: Headers) -> AbstractContextManager[object]:
    """A span for a command that belongs to a trace."""
    parent = tracing.extract(headers)
    if parent is None:
        return nullcontext()
    return tracing.span(names.SPAN_PROCESS.format(destination=Stage.KNOWLEDGE.value), kind="consumer", parent=parent)


def _bounded(limit: int, most: int) -> int:
    return max(1, min(limit, most))


def _check_name(kb: str) -> None:
    if not kb or len(kb) > MAX_NAME or kb != kb.strip() or any(not char.isprintable() or char in "/\\" for char in kb):
        raise Invalid(f"a knowledge base's name has 1 to {MAX_NAME} printable characters, without / and outer spaces")


def _check_path(path: str) -> None:
    if not path or len(path) > MAX_PATH or any(not char.isprintable() for char in path):
        raise Invalid(f"a document's path has 1 to {MAX_PATH} printable characters")
