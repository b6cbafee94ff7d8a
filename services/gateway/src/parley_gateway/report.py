"""What is told of turns: metrics, one log line at the end, a trace span. Never their text."""

from parley_gateway.core.entry import Entry
from parley_protocol.events import TurnStatus
from parley_runtime.telemetry import names, tracing
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter, gauge, histogram
from parley_runtime.telemetry.recent import Recent

log = get_logger("parley.turn")

_first_token = Recent("first_token")
_whole_turn = Recent("turn")


def latencies() -> dict[str, float]:
    """Of this process's last turns, milliseconds by name."""
    return _first_token.quantiles() | _whole_turn.quantiles()


def opened(entry: Entry) -> None:
    """A turn is held from here on."""
    gauge(names.TURNS_OPEN).inc()
    if tracing.enabled():
        entry.span = tracing.start_span(
            names.SPAN_TURN,
            kind="server",
            parent=entry.parent,
            attributes={names.ATTR_CONVERSATION: tracing.conversation(entry.turn.key.session)},
        )


def headers(entry: Entry, kind: str) -> dict[str, str | int]:
    """Headers of a message about the turn."""
    made: dict[str, str | int] = {"parley-kind": kind, "parley-v": 1}
    if entry.span is not None:
        tracing.inject(made, tracing.context_of(entry.span))
    return made


def first(entry: Entry) -> None:
    """The turn's first answer text is on its way to its sockets."""
    if entry.span is not None:
        made = tracing.start_span(
            names.SPAN_DELIVER,
            parent=tracing.context_of(entry.span),
            attributes={names.ATTR_FENCE: entry.turn.fence},
        )
        made.end()


def ended(entry: Entry, *, taken: bool) -> None:
    """A turn is over."""
    gauge(names.TURNS_OPEN).dec()
    terminal = entry.turn.terminal
    status = terminal.status.value if taken and terminal is not None else "refused"
    latency = entry.turn.latency
    if entry.request is not None:
        counter(names.TURNS).labels(status).inc()
    if latency is not None and entry.request is not None:
        if latency.first_token_ms:
            histogram(names.FIRST_TOKEN_SECONDS).observe(latency.first_token_ms / 1000)
            _first_token.add(latency.first_token_ms)
            if entry.said_at:
                histogram(names.SPEECH_ANSWER_SECONDS).observe(entry.first_at - entry.said_at)
        histogram(names.TURN_SECONDS).observe(latency.total_ms / 1000)
        _whole_turn.add(latency.total_ms)
    lonely = taken and not entry.session.sinks and not entry.elsewhere
    if lonely or (taken and entry.abandoned):  # who comes back between the decision and the end reads "abandoned" too
        counter(names.DETACHED_TURNS).labels("abandoned" if entry.abandoned else status).inc()
    if lonely:
        counter(names.DETACHED_CHARACTERS).inc(max(0, len(entry.turn.text) - entry.heard))
    log.info(
        "turn ended",
        session=entry.turn.key.session[:8],
        turn=entry.turn.key.turn,
        status=status,
        fence=entry.turn.fence,
        followed=entry.request is None,
        detached=lonely,
        abandoned=entry.abandoned,
        characters=len(entry.turn.text),
        accepted_ms=latency.accepted_ms if latency else 0,
        first_token_ms=latency.first_token_ms if latency else 0,
        total_ms=latency.total_ms if latency else 0,
    )
    _end_span(entry, status)


def _end_span(entry: Entry, status: str) -> None:
    span, entry.span = entry.span, None
    if span is None:
        return
    span.set_attribute(names.ATTR_STATUS, status or TurnStatus.OPEN.value)
    span.set_attribute(names.ATTR_FENCE, entry.turn.fence)
    span.end()
