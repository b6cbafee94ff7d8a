"""From a ``Generate`` job to its answer."""

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from opentelemetry.trace import Span

from parley_inference.engine import Calling, Generator, Piece, Remembering, Request, stream
from parley_inference.prepared import PreparedGenerator
from parley_protocol.events import Ending, Source, Usage
from parley_protocol.work import Generate, Record, Sampling
from parley_runtime.errors import EngineError, EngineRejected, Expired, Unavailable
from parley_runtime.stage import Run, record
from parley_runtime.store.threads import ThreadStore
from parley_runtime.telemetry import metrics, names, tracing
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)


class _Meter:
    """The figures of one engine, looked up once."""

    def __init__(self, engine: str) -> None:
        self.first_seconds = metrics.histogram(names.ENGINE_FIRST_SECONDS).labels(engine)
        self.tokens_in = metrics.counter(names.TOKENS).labels(engine, "input")
        self.tokens_out = metrics.counter(names.TOKENS).labels(engine, "output")


@dataclass(slots=True)
class _Answer:
    """One answer as it is made."""

    engine: Generator
    meter: _Meter
    begun: float
    thread: str = ""
    pieces: int = 0
    usage: Usage | None = None
    sources: tuple[Source, ...] = field(default=())
    ending: Ending | None = None


class GenerateHandler:
    """The handler of the generation stage. ``engine_of``: the engine for what a job names, see ``Generate.engine``.
    ``prepared`` tells answers that are ready.
    """

    def __init__(
        self, engine_of: Callable[[str], Generator], threads: ThreadStore, prepared: Generator | None = None
    ) -> None:
        self._engine_of = engine_of
        self._prepared = prepared or PreparedGenerator(0.0)
        self._threads = threads
        self._meters: dict[str, _Meter] = {}

    async def __call__(self, run: Run[Generate]) -> Record:
        """Stream the answer and return its record: exactly ``run.text``. The engine has been stopped when this
        returns, raises or is cancelled.
        """
        engine = self._prepared if run.job.prepared else self._engine_of(run.job.engine)
        check_tools(engine, run.job.sampling)
        run.status("generating")
        attributes: tracing.Attributes = {
            names.ATTR_MODEL: engine.model,
            names.ATTR_CONVERSATION: tracing.conversation(run.key.session),
            names.ATTR_FENCE: run.fence,
        }
        with tracing.span(names.SPAN_CHAT.format(model=engine.model), kind="client", attributes=attributes) as span:
            try:
                answer = await self._stream(run, engine, span)
            except (EngineError, EngineRejected, Expired) as error:
                metrics.counter(names.ENGINE_ERRORS).labels(engine.name, type(error).__name__).inc()
                raise
        retrieval = run.job.marks.retrieval
        sources = answer.sources or (retrieval.sources if retrieval else ())
        return record(run, sources=sources, usage=answer.usage, ending=answer.ending)

    async def _stream(self, run: Run[Generate], engine: Generator, span: Span) -> _Answer:
        prefix = run.prefix
        if prefix and engine.continues:
            run.resume(prefix)
        # Not the loop's clock, which stands still within a tick and counts whole milliseconds under uvloop.
        answer = _Answer(engine, self._meter(engine), time.perf_counter(), await self._thread(run, engine))
        try:
            async with aclosing(stream(engine, _request(run, answer.thread), prefix=prefix)) as output:
                async for piece in output:
                    if piece.thread or piece.sources:
                        await self._said_beside(run, answer, piece)
                    answer.usage = piece.usage or answer.usage
                    answer.ending = piece.ending or answer.ending
                    if not piece.text:
                        continue
                    if answer.pieces == 0:
                        answer.meter.first_seconds.observe(time.perf_counter() - answer.begun)
                    answer.pieces += 1
                    run.delta(piece.text)
        finally:
            # A stopped run has used tokens too; where the engine counts none, its pieces are the best there is.
            answer.usage = answer.usage or Usage(completion_tokens=answer.pieces)
            _count(answer, span)
        return answer

    async def _thread(self, run: Run[Generate], engine: Generator) -> str:
        if not (isinstance(engine, Remembering) and engine.threads):
            return ""
        return await self._threads.find(run.key.tenant, run.key.session, engine.name)

    async def _said_beside(self, run: Run[Generate], answer: _Answer, piece: Piece) -> None:
        """At once, so that a conversation goes on though its first answer is stopped."""
        if piece.sources:
            answer.sources = piece.sources
            retrieval = run.job.marks.retrieval
            if retrieval is not None:
                run.retrieval(retrieval.intent, retrieval.route, piece.sources)
        if piece.thread and piece.thread != answer.thread:
            answer.thread = piece.thread
            try:
                await self._threads.keep(run.key.tenant, run.key.session, answer.engine.name, piece.thread)
            except Unavailable as error:
                log.warning("the engine's name of a conversation was not kept", reason=type(error).__name__)

    def _meter(self, engine: Generator) -> _Meter:
        meter = self._meters.get(engine.name)
        if meter is None:
            meter = self._meters[engine.name] = _Meter(engine.name)
        return meter


def check_tools(engine: Generator, sampling: Sampling) -> None:
    """Raises EngineRejected where a function has to be called and the engine calls none. Where one may be called, such
    an engine answers in words.
    """
    forced = sampling.tools and sampling.tool_choice not in ("", "none")
    if forced and not (isinstance(engine, Calling) and engine.calls_tools):
        raise EngineRejected(
            f"the engine {engine.name} calls no functions: point PARLEY_OPENAI_BASE_URL at a server whose model does, "
            'or leave tool_choice at "auto" to be answered in words'
        )


def _count(answer: _Answer, span: Span) -> None:
    usage = answer.usage or Usage()
    answer.meter.tokens_in.inc(usage.prompt_tokens)
    answer.meter.tokens_out.inc(usage.completion_tokens)
    span.set_attribute(names.ATTR_INPUT_TOKENS, usage.prompt_tokens)
    span.set_attribute(names.ATTR_OUTPUT_TOKENS, usage.completion_tokens)


def _request(run: Run[Generate], thread: str) -> Request:
    job = run.job
    retrieval = job.marks.retrieval
    return Request(
        messages=job.prompt,
        question=job.question,
        sources=retrieval.sources if retrieval else (),
        intent=retrieval.intent if retrieval else "",
        kb=job.kb,
        sampling=job.sampling,
        deadline_s=run.remaining_s(),
        prepared=job.prepared,
        user=job.user or run.key.session,
        thread=thread,
    )
