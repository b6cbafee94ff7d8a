"""From a ``Generate`` job to its answer."""

import time
from contextlib import aclosing

from opentelemetry.trace import Span

from parley_inference.engine import Generator, Request, stream
from parley_inference.prepared import PreparedGenerator
from parley_protocol.events import Usage
from parley_protocol.work import Generate, Record
from parley_runtime.errors import EngineError, EngineRejected, Expired
from parley_runtime.stage import Run, record
from parley_runtime.telemetry import metrics, names, tracing


class GenerateHandler:
    """The handler of the generation stage, for one engine. ``prepared`` tells answers that are ready."""

    def __init__(self, engine: Generator, prepared: Generator | None = None) -> None:
        self._answers = _Meters(engine)
        self._prepared = _Meters(prepared or PreparedGenerator(0.0))

    async def __call__(self, run: Run[Generate]) -> Record:
        """Stream the answer and return its record: exactly ``run.text``. The engine has been stopped when this
        returns, raises or is cancelled.
        """
        run.status("generating")
        meters = self._prepared if run.job.prepared else self._answers
        engine = meters.engine
        attributes: tracing.Attributes = {
            names.ATTR_MODEL: engine.model,
            names.ATTR_CONVERSATION: tracing.conversation(run.key.session),
            names.ATTR_FENCE: run.fence,
        }
        with tracing.span(names.SPAN_CHAT.format(model=engine.model), kind="client", attributes=attributes) as span:
            try:
                usage = await _stream(run, span, meters)
            except (EngineError, EngineRejected, Expired) as error:
                metrics.counter(names.ENGINE_ERRORS).labels(engine.name, type(error).__name__).inc()
                raise
        retrieval = run.job.marks.retrieval
        return record(run, sources=retrieval.sources if retrieval else (), usage=usage)


class _Meters:
    """An engine and what is counted of it."""

    def __init__(self, engine: Generator) -> None:
        self.engine = engine
        self.first_seconds = metrics.histogram(names.ENGINE_FIRST_SECONDS).labels(engine.name)
        self._tokens_in = metrics.counter(names.TOKENS).labels(engine.name, "input")
        self._tokens_out = metrics.counter(names.TOKENS).labels(engine.name, "output")

    def count(self, usage: Usage, span: Span) -> None:
        """Of one run."""
        self._tokens_in.inc(usage.prompt_tokens)
        self._tokens_out.inc(usage.completion_tokens)
        span.set_attribute(names.ATTR_INPUT_TOKENS, usage.prompt_tokens)
        span.set_attribute(names.ATTR_OUTPUT_TOKENS, usage.completion_tokens)


async def _stream(run: Run[Generate], span: Span, meters: _Meters) -> Usage:
    engine, prefix = meters.engine, run.prefix
    if prefix and engine.continues:
        run.resume(prefix)
    # Not the loop's clock, which stands still within a tick and counts whole milliseconds under uvloop.
    begun, pieces, usage = time.perf_counter(), 0, None
    try:
        async with aclosing(stream(engine, _request(run), prefix=prefix)) as output:
            async for piece in output:
                usage = piece.usage or usage
                if not piece.text:
                    continue
                if pieces == 0:
                    meters.first_seconds.observe(time.perf_counter() - begun)
                pieces += 1
                run.delta(piece.text)
    finally:
        # A stopped run has used tokens too; where the engine counts none, its pieces are the best there is.
        usage = usage or Usage(completion_tokens=pieces)
        meters.count(usage, span)
    return usage


def _request(run: Run[Generate]) -> Request:
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
    )
