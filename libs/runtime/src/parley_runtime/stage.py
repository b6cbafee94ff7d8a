"""What a stage of work is to the worker loop, and what the loop gives to a stage's handler.

A service registers one :class:`StageSpec` per stage; handlers never see a routing key, a fence, an ack or the broker.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from parley_protocol.events import Ending, Fault, Source, TurnStatus, Usage
from parley_protocol.ids import TurnKey
from parley_protocol.readings import MetricData
from parley_protocol.work import ChatMessage, Generate, Job, Record, Sampling

J = TypeVar("J", bound=Job)
J_co = TypeVar("J_co", bound=Job, covariant=True)


class Run(Protocol[J_co]):
    """One run of one job under one fence. Output goes straight to the gateways that follow the turn; it is numbered,
    coalesced and fenced by the loop, and never awaited.
    """

    @property
    def job(self) -> J_co: ...
    @property
    def key(self) -> TurnKey: ...
    @property
    def fence(self) -> int: ...
    @property
    def prefix(self) -> str:
        """Text that a former run of this stage has already delivered ("" for none).

        A handler that can continue from a given beginning calls ``resume(prefix)`` and sends only what follows; one
        that cannot sends its whole answer: the loop holds back what repeats the prefix, and tells the client
        ``restarted`` if it differs.
        """
        ...

    @property
    def text(self) -> str:
        """The answer of this run so far: exactly what its record must hold."""
        ...

    def remaining_s(self) -> float:
        """Seconds until the turn's deadline, by this process's monotonic clock."""
        ...

    def status(self, stage: str) -> None:
        """Mark: the turn entered ``stage``."""
        ...

    def retrieval(self, intent: str, route: str, sources: Sequence[Source], data: Sequence[MetricData] = ()) -> None:
        """Mark: where the question goes and what backs the answer."""
        ...

    def resume(self, text: str) -> None:
        """Take ``text`` (the prefix) as already answered. At most once, before any ``delta``."""
        ...

    def delta(self, text: str) -> None:
        """More answer text. Empty text is ignored."""
        ...


Handler = Callable[[Run[J]], Awaitable[Generate | Record]]
"""Works on a job under its deadline and returns the job that follows, made with :func:`following` or :func:`record`.

The loop stamps that job as it publishes it: base, fence, next ``n``, marks, followers, hops, remaining budget.

Cancelled (asyncio.CancelledError) when the turn is stopped, superseded or out of time: it must stop its engine and
return the seat at once. A :class:`~parley_runtime.errors.Retryable` error sends the job to the retry ladder, a
``Fatal`` one records ``failed``; both reach the client.
"""


@dataclass(frozen=True, slots=True)
class StageSpec(Generic[J]):
    """A stage: its name (routing key), the job it takes, how many run at a time, and whether it mints the fence."""

    stage: str
    job: type[J]
    seats: int
    handler: Handler[J]
    first: bool = False


def following(
    run: Run[Any], prompt: Sequence[ChatMessage], *, sampling: Sampling | None = None, prepared: str = ""
) -> Generate:
    """The generation job that follows ``run``; ``prepared``: the answer, where it is known already."""
    job = run.job
    return Generate(
        key=run.key,
        submission=job.submission,
        budget_s=run.remaining_s(),
        base=job.base,
        fence=run.fence,
        question=job.question,
        kb=job.kb,
        prompt=tuple(prompt),
        sampling=sampling or Sampling(),
        prepared=prepared,
        engine=getattr(job, "engine", ""),
        user=getattr(job, "user", ""),
    )


def record(
    run: Run[Any],
    status: TurnStatus = TurnStatus.COMPLETED,
    *,
    sources: Sequence[Source] = (),
    usage: Usage | None = None,
    fault: Fault | None = None,
    ending: Ending | None = None,
) -> Record:
    """The record that ends the turn of ``run`` with ``run.text``, which must be whole by now."""
    job = run.job
    return Record(
        key=run.key,
        submission=job.submission,
        budget_s=run.remaining_s(),
        base=job.base,
        fence=run.fence,
        question=job.question,
        kb=job.kb,
        status=status,
        text=run.text,
        sources=tuple(sources),
        usage=usage,
        fault=fault,
        ending=ending,
    )
