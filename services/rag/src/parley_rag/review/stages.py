"""The two consumers of contract review: one reads and cuts contracts, the other assesses clauses.

Both are safe to redeliver: what a job has to do is asked of the store when it comes. A job is acknowledged when what
follows it is stored or confirmed. A job that fails goes up the retry ladder; at its end the task fails, or the clauses
are ``unknown``, and the job is parked with its cause.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from parley_protocol import codec
from parley_protocol.faults import ProtocolError
from parley_protocol.reviews import AssessClauses, ClauseResult, ReviewJob
from parley_protocol.routes import Stage, Topology, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_rag.intake import IntakeOptions, StoreIntake
from parley_rag.reader import DocumentReader
from parley_rag.retrieval import IndexFollower, Retriever
from parley_rag.review import clauses as cutting
from parley_rag.review import ending
from parley_rag.review.assessor import Brief
from parley_rag.review.ending import Endings, ReviewRefused
from parley_rag.review.parties import pack_facts, read_facts, side_of, unpack_facts
from parley_rag.review.post import Post, stage_of
from parley_rag.review.registry import Judge, ReviewSettings
from parley_rag.review.rules import RuleFinder
from parley_runtime.errors import NotFound, ParleyError
from parley_runtime.ports import Broker, Delivery
from parley_runtime.retry import Park, Retry, after_failure, fault_of
from parley_runtime.store.ports import Store
from parley_runtime.store.review_ports import NewClause, ReviewRow, StoredClause
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, histogram

log = get_logger(__name__)

BATCH = 8
"""Clauses judged side by side and stored in one transaction."""
IN_THREAD = 100_000
"""Code points of a contract that are cut on the loop: a few milliseconds."""
NO_DEADLINE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the consumers work with."""

    store: Store
    retriever: Retriever
    follower: IndexFollower
    reader: DocumentReader
    judge: Judge
    post: Post
    endings: Endings
    settings: ReviewSettings
    intake: IntakeOptions
    declared: Topology | None = None


class ReviewIntake(StoreIntake):
    """What both consumers share."""

    stage: Stage

    def __init__(self, broker: Broker, parts: Parts, *, prefetch: int) -> None:
        queue = (parts.declared or default_topology()).queue(stage_queue(self.stage))
        super().__init__(broker, queue, what=f"{self.stage} jobs", prefetch=prefetch, hold_s=parts.intake.hold_s)
        self._parts = parts

    async def _serve(self, delivery: Delivery) -> None:
        job = _decoded(delivery.body)
        if job is None or stage_of(job) is not self.stage:
            counter(names.UNDECODABLE).labels(self.stage.value).inc()
            log.warning("review job cannot be used; dead-lettered", stage=self.stage.value)
            await delivery.reject()
            return
        try:
            outcome = "done" if await self._work(job, delivery) else "unpublished"
        except Exception as error:
            outcome = await self._failed(job, error, delivery)
        counter(names.JOBS).labels(self.stage.value, outcome).inc()
        if outcome != "unpublished":
            await delivery.ack()

    @abstractmethod
    async def _work(self, job: ReviewJob, delivery: Delivery) -> bool:
        """Do what is to be done. False: something could not be published, and the delivery is somebody else's."""

    async def _failed(self, job: ReviewJob, error: Exception, delivery: Delivery) -> str:
        """To the ladder, or the end of what the job stands for; returns the outcome's name."""
        if not isinstance(error, ParleyError):
            log.error("review job met a defect", stage=self.stage.value, task=job.task, exc_info=error)
        outcome = after_failure(error, job.tries, NO_DEADLINE)
        parts = self._parts
        if isinstance(outcome, Retry):
            again = msgspec.structs.replace(job, tries=job.tries + int(outcome.counted))
            sent = await parts.post.climb(again, outcome.rung, lambda: delivery.alive)
            return "retried" if sent else "unpublished"
        reason, told = ending.why(error), ending.failure(error)
        await self._gate.call(lambda: parts.endings.give_up(job, reason, told))
        if isinstance(outcome, Park):
            try:
                await parts.post.park(job, fault_of(error))
            except ParleyError as failure:
                log.info("dead letter kept without its cause", reason=type(failure).__name__)
                await delivery.reject()
            return "parked"
        return "failed"


class ReviewReader(ReviewIntake):
    """Reads and cuts contracts."""

    stage = Stage.REVIEW

    def __init__(self, broker: Broker, parts: Parts) -> None:
        super().__init__(broker, parts, prefetch=parts.settings.reads)

    async def _work(self, job: ReviewJob, delivery: Delivery) -> bool:
        reviews, gate, parts = self._parts.store.reviews, self._gate, self._parts
        row = await gate.call(lambda: reviews.begin(job.tenant, job.task))
        if row is None or row.status.ended:
            return True
        parts.post.tell(row)
        if not row.clauses:
            await self._check_playbook(job.tenant)
            text = await self._text(job)
            if text is not None:
                await self._cut(job, text)
            row = await gate.call(lambda: reviews.row(job.tenant, job.task))
        if row is None or row.status.ended:
            return True
        parts.post.tell(row)
        return await send_groups(parts, row, lambda: delivery.alive)

    async def _check_playbook(self, tenant: str) -> None:
        kb = self._parts.settings.kb
        bases = await self._gate.call(lambda: self._parts.store.bases(tenant))
        if not any(base.name == kb and base.documents for base in bases):
            raise NotFound(ending.NO_PLAYBOOK.format(kb))

    async def _text(self, job: ReviewJob) -> str | None:
        """The contract's text; None where another run has cut it by now."""
        document = await self._gate.call(lambda: self._parts.store.reviews.document(job.tenant, job.task))
        if document is None:
            return None
        if not document.name:
            return document.data.decode("utf-8", "replace")
        return await self._parts.reader.text(document.name, document.media_type, document.data)

    async def _cut(self, job: ReviewJob, text: str) -> None:
        spans = cutting.split(text) if len(text) <= IN_THREAD else await asyncio.to_thread(cutting.split, text)
        most = self._parts.settings.max_clauses
        if not spans:
            raise ReviewRefused(ending.EMPTY)
        if len(spans) > most:
            raise ReviewRefused(ending.TOO_LONG.format(len(spans), most))
        found = [NewClause(start, end, text[start:end]) for start, end in spans]
        facts = pack_facts(read_facts(text))
        await self._gate.call(lambda: self._parts.store.reviews.cut(job.tenant, job.task, text, facts, found))


class ClauseAssessor(ReviewIntake):
    """Assesses clauses. The result that leaves none without one completes the task, in the store."""

    stage = Stage.ASSESS

    def __init__(self, broker: Broker, parts: Parts) -> None:
        super().__init__(broker, parts, prefetch=parts.settings.jobs)

    async def _work(self, job: ReviewJob, delivery: Delivery) -> bool:  # noqa: ARG002 - nothing is published
        assert isinstance(job, AssessClauses)
        reviews, gate, parts = self._parts.store.reviews, self._gate, self._parts
        row = await gate.call(lambda: reviews.row(job.tenant, job.task))
        waiting = await gate.call(lambda: reviews.waiting(job.tenant, job.task, job.first, job.count))
        if row is None or not waiting:
            return True
        await gate.call(parts.follower.catch_up)  # the playbook may have come just before the contract
        brief = await self._brief(row)
        finder = RuleFinder(parts.retriever, parts.store, job.tenant, parts.settings.kb)
        trouble: Exception | None = None
        for at in range(0, len(waiting), BATCH):
            results, failed = await self._judged(waiting[at : at + BATCH], finder, brief)
            trouble = trouble or failed
            if not await self._keep(row, results):
                return True
        if trouble is not None:
            raise trouble
        return True

    async def _brief(self, row: ReviewRow) -> Brief:
        facts = unpack_facts(await self._gate.call(lambda: self._parts.store.reviews.facts(row.tenant, row.task)))
        return Brief(contract_type=row.contract_type, role=row.role, side=side_of(row.role, facts), facts=facts)

    async def _judged(
        self, clauses: Sequence[StoredClause], finder: RuleFinder, brief: Brief
    ) -> tuple[list[tuple[int, ClauseResult]], Exception | None]:
        """What could be judged, and the first reason why something could not."""
        outcomes = await asyncio.gather(
            *(self._one(clause, finder, brief) for clause in clauses), return_exceptions=True
        )
        results: list[tuple[int, ClauseResult]] = []
        trouble: Exception | None = None
        for clause, outcome in zip(clauses, outcomes, strict=True):
            if isinstance(outcome, ClauseResult):
                results.append((clause.number, outcome))
            elif isinstance(outcome, Exception):
                trouble = trouble or outcome
            else:
                raise outcome
        return results, trouble

    async def _one(self, clause: StoredClause, finder: RuleFinder, brief: Brief) -> ClauseResult:
        rules = await finder.rules(clause.text)
        result = await self._parts.judge.judge(clause.text, rules, brief)
        await asyncio.sleep(0)  # judging by rules holds the loop for about a millisecond
        return result

    async def _keep(self, row: ReviewRow, results: list[tuple[int, ClauseResult]]) -> bool:
        """Store results and tell of them; False where the task has ended."""
        outcome = await self._gate.call(lambda: self._parts.store.reviews.assess(row.tenant, row.task, results))
        if outcome is None:
            return False
        counter(names.REVIEW_CLAUSES).labels("assessed").inc(outcome.stored)
        counter(names.REVIEW_CLAUSES).labels("again").inc(len(results) - outcome.stored)
        if outcome.completed:
            histogram(names.REVIEW_SECONDS).observe(outcome.row.age_s)
        ending.finished(outcome.row, outcome.completed)
        if outcome.stored or outcome.row.status.ended:  # (a call whose answer was lost may have completed it)
            self._parts.post.tell(outcome.row)
        return outcome.completed or not outcome.row.status.ended


def _decoded(body: bytes) -> ReviewJob | None:
    try:
        return codec.unpack_review(body)
    except ProtocolError:
        return None


async def send_groups(parts: Parts, row: ReviewRow, held: Callable[[], bool]) -> bool:
    """A job for each group of clauses. One that is sent twice costs a look at the store. False: not all were sent."""
    settings = parts.settings
    for first, count in cutting.plan(row.clauses, settings.fanout, settings.group):
        if not await parts.post.send(AssessClauses(tenant=row.tenant, task=row.task, first=first, count=count), held):
            return False
    return True
