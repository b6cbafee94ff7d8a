"""How reviews end that cannot go on: what their owner is told, in Chinese, and what is stored."""

from collections.abc import Callable

from parley_protocol import codec
from parley_protocol.faults import ProtocolError
from parley_protocol.reviews import AssessClauses, ClauseResult, ReviewJob, ReviewStatus, Risk, Verdict
from parley_runtime.errors import Fatal, Invalid, NotFound, ParleyError
from parley_runtime.store.review_ports import ReviewRow, ReviewStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)

Tell = Callable[[ReviewRow], None]

UNREADABLE = "无法读取合同文件，请检查文件后重新上传：{}"
NO_PLAYBOOK = "没有审查规则：请先把规则导入知识库 {}，再重新上传合同"
TOO_LONG = "合同条款过多（{} 条，上限 {} 条），请拆分后重新上传"
EMPTY = "合同中没有可以审查的文本，请检查文件后重新上传"
BROKEN = "审查多次失败，未能完成，请稍后重新上传（{}）"
LATE = "审查未能在限定时间内完成，请重新上传"
UNKNOWN = "该条款未能评估（{}），请人工审查"
NONE = "none"
"""As assessor of a clause that none could judge."""


def why(error: BaseException) -> str:
    """An error in a few words, without anything of a defect."""
    return str(error) if isinstance(error, ParleyError) else "内部错误"


def failure(error: BaseException) -> str:
    """What the owner of a task is told that cannot be read."""
    if isinstance(error, NotFound | ReviewRefused):
        return str(error)
    return (UNREADABLE if isinstance(error, Invalid) else BROKEN).format(why(error))


class ReviewRefused(Fatal):
    """A contract that cannot be reviewed; the message is for its owner, in Chinese."""


def unknown(reason: str) -> ClauseResult:
    """The result of a clause that could not be assessed."""
    verdict = Verdict(risk=Risk.UNKNOWN, reason=UNKNOWN.format(reason))
    return ClauseResult(assessor=NONE, verdicts=(verdict,), note=reason)


class Endings:
    """Ends what a job stands for. Every call may be repeated."""

    def __init__(self, store: ReviewStore, tell: Tell) -> None:
        self._store = store
        self._tell = tell

    async def give_up(self, job: ReviewJob, reason: str, message: str) -> None:
        """A job that will not be done: the task fails with ``message``, or its clauses are unknown for ``reason``."""
        if isinstance(job, AssessClauses):
            await self._unknown(job, reason)
        else:
            await self.fail(job.tenant, job.task, message)

    async def fail(self, tenant: str, task: int, message: str) -> None:
        """The task fails, if it has not ended."""
        if await self._store.fail(tenant, task, message):
            counter(names.REVIEWS).labels("failed").inc()
            log.warning("review failed", task=task)
        row = await self._store.row(tenant, task)
        if row is not None and row.status is ReviewStatus.FAILED:
            self._tell(row)

    async def dead(self, body: bytes, reason: str) -> None:
        """A dead letter of a review queue. What cannot be decoded is left to the sweep."""
        try:
            job = codec.unpack_review(body)
        except ProtocolError:
            return
        await self.give_up(job, reason, BROKEN.format(reason))

    async def _unknown(self, job: AssessClauses, reason: str) -> None:
        waiting = await self._store.waiting(job.tenant, job.task, job.first, job.count)
        results = [(clause.number, unknown(reason)) for clause in waiting]
        outcome = await self._store.assess(job.tenant, job.task, results)
        if outcome is not None:
            counter(names.REVIEW_CLAUSES).labels("unknown").inc(outcome.stored)
            log.warning("clauses could not be assessed", task=job.task, clauses=outcome.stored)
            finished(outcome.row, outcome.completed)
            self._tell(outcome.row)


def finished(row: ReviewRow, completed: bool) -> None:
    """Count and log a task that was completed by this call."""
    if completed:
        counter(names.REVIEWS).labels("completed").inc()
        log.info("review completed", task=row.task, clauses=row.clauses, seconds=round(row.age_s, 2))
