"""Spans, and their way through AMQP headers (W3C trace context).

Without :func:`setup`, or with neither exporter configured, :func:`span` costs about a microsecond and does nothing.
Session and turn ids are attributes of spans, never labels of metrics; texts are neither.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from parley_runtime.settings import CommonSettings

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_HEADERS = ("traceparent", "tracestate")
_propagator = TraceContextTextMapPropagator()
_off: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)


class _State:
    """The process's tracer, if there is one."""

    provider: TracerProvider | None = None
    tracer: Tracer | None = None


def setup(role: str, process_id: str, common: CommonSettings) -> None:
    """Export spans to ``common.otlp_endpoint`` (batched, on a thread) and ``common.trace_file`` (at each span's end).

    Replaces a former setup. With neither set, spans stay off.

    Raises:
        OSError: the trace file cannot be opened.
    """
    _State.provider = _State.tracer = None
    if not common.otlp_endpoint and not common.trace_file:
        return
    _State.provider = make_provider(role, process_id, common)
    _State.tracer = _State.provider.get_tracer("parley", version("parley-runtime"))


def make_provider(role: str, process_id: str, common: CommonSettings) -> TracerProvider:
    """A provider with the exporters that ``common`` asks for. Raises OSError as :func:`setup` does."""
    resource = Resource.create({"service.name": f"parley-{role}", "service.instance.id": process_id})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if common.trace_file:
        provider.add_span_processor(SimpleSpanProcessor(FileExporter(common.trace_file)))
    if common.otlp_endpoint:
        provider.add_span_processor(BatchSpanProcessor(_otlp(common.otlp_endpoint)))
    return provider


def _otlp(endpoint: str) -> SpanExporter:
    # Imported here: it brings an HTTP client that most processes never use.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)


async def shutdown(timeout_s: float) -> None:
    """Send what is left, for at most ``timeout_s``; spans after that are off. Idempotent."""
    provider, _State.provider, _State.tracer = _State.provider, None, None
    if provider is None:
        return
    work = asyncio.create_task(asyncio.to_thread(provider.shutdown))
    await asyncio.wait({work}, timeout=timeout_s)


def enabled() -> bool:
    """Whether spans go anywhere: lets a hot path skip building attributes."""
    return _State.tracer is not None


def span(
    name: str, *, kind: Kind = "internal", parent: Context | None = None, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """A span that is current inside the ``with`` block. ``parent`` None: the current span, if any.

    An exception marks it as failed with the exception's type (never its message) and passes on; a cancellation is
    marked as such and is no failure.
    """
    if _State.tracer is None:
        return _off
    return _span(_State.tracer, name, _KINDS[kind], parent, attributes)


def start_span(
    name: str, *, kind: Kind = "internal", parent: Context | None = None, attributes: Attributes | None = None
) -> Span:
    """A span that is never current and lasts until ``end()``: for work that spans callbacks."""
    if _State.tracer is None:
        return INVALID_SPAN
    return _State.tracer.start_span(name, context=parent, kind=_KINDS[kind], attributes=dict(attributes or {}))


def context_of(span_: Span) -> Context:
    """The context to give as ``parent`` of spans below ``span_``."""
    return set_span_in_context(span_)


def inject(headers: MutableMapping[str, str | int], context: Context | None = None) -> None:
    """Put the trace context (None: the current one) into ``headers``. Does nothing while spans are off."""
    if _State.tracer is None:
        return
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    headers.update(carrier)


def conversation(session: str) -> str:
    """A session as spans and logs may name it: enough to tell it from others, too little to resume it."""
    return session[:8]


def extract(headers: Mapping[str, str | int]) -> Context | None:
    """The context that ``headers`` carry, for ``parent``; None where there is none or spans are off."""
    if _State.tracer is None:
        return None
    carrier = {name: str(headers[name]) for name in _HEADERS if name in headers}
    return _propagator.extract(carrier) if carrier else None


@contextmanager
def _span(
    tracer: Tracer, name: str, kind: SpanKind, parent: Context | None, attributes: Attributes | None
) -> Iterator[Span]:
    made = tracer.start_span(name, context=parent, kind=kind, attributes=dict(attributes or {}))
    with use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield made
        except BaseException as error:
            _mark(made, error)
            raise


def _mark(made: Span, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        made.set_attribute("parley.cancelled", True)
        return
    made.set_attribute("error.type", type(error).__name__)
    made.set_status(Status(StatusCode.ERROR, type(error).__name__))


class FileExporter(SpanExporter):
    """Appends each span as one JSON line with one ``write`` on a file opened with O_APPEND, so that any number of
    processes may share the file and no line is torn.
    """

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write ``spans`` in order."""
        for item in spans:
            os.write(self._fd, json.dumps(_row(item), ensure_ascii=False).encode() + b"\n")
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _row(item: ReadableSpan) -> dict[str, object]:
    context = item.get_span_context()
    return {
        "name": item.name,
        "kind": item.kind.name.lower(),
        "trace_id": f"{context.trace_id:032x}" if context else "",
        "span_id": f"{context.span_id:016x}" if context else "",
        "parent_id": f"{item.parent.span_id:016x}" if item.parent else "",
        "start_ns": item.start_time,
        "end_ns": item.end_time,
        "attributes": dict(item.attributes or {}),
        "links": [f"{link.context.trace_id:032x}:{link.context.span_id:016x}" for link in item.links],
        "status": item.status.status_code.name.lower(),
        "service": item.resource.attributes.get("service.name", ""),
        "process": item.resource.attributes.get("service.instance.id", ""),
    }
