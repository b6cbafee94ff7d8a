"""The first stage of a typed turn: route the question, find passages, build the prompt, hand on to generation."""

from collections.abc import Sequence

from parley_protocol.events import Source
from parley_protocol.work import ChatMessage, Generate, Retrieve
from parley_rag import prompt
from parley_rag.data.desk import Answer, DataDesk
from parley_rag.finding import Finder, Options, Positions, around
from parley_rag.retrieval import Retriever
from parley_rag.routing import Intent, Route
from parley_runtime.answering import RETRIEVING
from parley_runtime.errors import UnknownBase
from parley_runtime.stage import Run, following
from parley_runtime.store.ports import Exchange, Store
from parley_runtime.telemetry import metrics, names

DEFAULT_KB = "default"
"""The base of questions that name none."""

NAMED = 20
"""Existing bases that an error names."""


class RetrieveHandler:
    """See :data:`parley_runtime.stage.Handler`. Shared by all seats; keeps nothing between jobs."""

    def __init__(
        self,
        store: Store,
        retriever: Retriever,
        options: Options | None = None,
        data: DataDesk | None = None,
        positions: Positions | None = None,
    ) -> None:
        """``data``: answers questions about measured data; None: there are none. ``positions``: see :class:`Finder`."""
        self._store = store
        self._data = data
        self._options = options or Options()
        self.finder = Finder(store, retriever, self._options, positions)
        """Finds what the turns find."""

    async def __call__(self, run: Run[Retrieve]) -> Generate:
        """The generation job. Marks: ``routing``, ``retrieving`` where it does, then what was found.

        Raises:
            UnknownBase: the knowledge base does not exist; the message names those that do.
            Invalid: the context of a question about data cannot be read.
            Unavailable: store or index cannot answer; the loop tries again.
        """
        job = run.job
        run.status("routing")
        if job.engine in RETRIEVING:
            return _passed_on(run)
        asked = await self.finder.asked(job.key.tenant, job.key.session, job.question, job.messages)
        history, decision = asked.history, asked.decision
        before, after = around(job.messages)
        if decision.route is Route.KNOWLEDGE_BASE and self._data is not None and not _called(job, after):
            answer = await self._data.answer(job.key.tenant, job.question, job.context, history)
            if answer is not None:
                return _told(run, answer)
        if not job.engine and self._options.engine in RETRIEVING:
            return _passed_on(run)
        intent, sources = decision.intent, list[Source]()
        if decision.route is Route.KNOWLEDGE_BASE:
            run.status("retrieving")
            sources = await self.finder.search(job, asked.query)
            if not sources and await base_is_empty(self._store, job.key.tenant, job.kb):
                intent = Intent.NO_DOCUMENTS
        metrics.counter(names.ROUTES).labels(decision.route.value).inc()
        run.retrieval(intent.value, decision.route.value, sources)
        messages = prompt.build(
            job.question,
            sources,
            before or _messages(history),
            intent,
            kb=job.kb,
            context=job.context,
            after=after,
            tools=bool(job.sampling.tools),
            bounds=prompt.Bounds(history=self._options.history_chars),
        )
        return following(run, messages, sampling=job.sampling)


def _called(job: Retrieve, after: Sequence[ChatMessage]) -> bool:
    """Whether the answer is to be made of what a function of the client's gave, or by calling one."""
    return any(each.role == "tool" for each in after) or job.sampling.tool_choice not in ("", "none")


def _told(run: Run[Retrieve], answer: Answer) -> Generate:
    """Hand on an answer that is ready: the next stage streams it, or phrases it."""
    route = Route.QUERY_DATA
    metrics.counter(names.ROUTES).labels(route.value).inc()
    run.retrieval(Intent.QUERY_DATA.value, route.value, (), answer.data)
    messages = prompt.of_data(run.job.question, answer.text)
    return following(run, messages, sampling=run.job.sampling, prepared=answer.text)


def _passed_on(run: Run[Retrieve]) -> Generate:
    """The question as it is: this engine finds passages and remembers the conversation by itself, and passages that it
    has not seen would back nothing.
    """
    metrics.counter(names.ROUTES).labels("engine").inc()
    run.retrieval(Intent.QUESTION.value, Route.KNOWLEDGE_BASE.value, ())
    return following(run, (ChatMessage("user", run.job.question),), sampling=run.job.sampling)


async def base_is_empty(store: Store, tenant: str, kb: str) -> bool:
    """Called where a search found nothing. True: nothing was ever ingested, and the default base was asked.

    Raises:
        UnknownBase: ``kb`` does not exist although others do, or is not the default one.
    """
    existing = [base.name for base in await store.bases(tenant)]
    if kb in existing:
        return False
    if kb == DEFAULT_KB and not existing:
        return True
    if not existing:
        raise UnknownBase(
            f"there is no knowledge base {kb!r}, nor any other; make it with: parley ingest PATH --kb {kb}"
        )
    shown = ", ".join(existing[:NAMED]) + (", ..." if len(existing) > NAMED else "")
    raise UnknownBase(f"there is no knowledge base {kb!r}; existing ones: {shown}")


def _messages(history: Sequence[Exchange]) -> list[ChatMessage]:
    return [
        message
        for exchange in history
        for message in (ChatMessage("user", exchange.question), ChatMessage("assistant", exchange.answer))
        if message.content  # of a spoken answer nothing may have been heard
    ]
