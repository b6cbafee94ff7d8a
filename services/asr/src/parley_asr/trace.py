"""Spans of one stream: its lease, and its utterances below that."""

from opentelemetry.trace import INVALID_SPAN, Span

from parley_protocol.audio import Heard, Listen, SpeechStarted, StreamEvent
from parley_runtime.ports import Headers
from parley_runtime.telemetry import names, tracing


class StreamTrace:
    """Begun as the lease is taken, below whoever published it. Holds no text."""

    def __init__(self, listen: Listen, headers: Headers, engine: str) -> None:
        attributes: dict[str, str | int | float | bool] = {}
        if tracing.enabled():
            attributes = {
                names.ATTR_SYSTEM: "rabbitmq",
                names.ATTR_OPERATION: "process",
                names.ATTR_CONVERSATION: tracing.conversation(listen.session),
                names.ATTR_STAGE: "listen",
                names.ATTR_KB: listen.kb,
                names.ATTR_MODEL: engine,
                names.ATTR_FENCE: listen.epoch,
            }
        name = names.SPAN_LISTEN.format(engine=engine)
        self._lease = tracing.start_span(name, kind="consumer", parent=tracing.extract(headers), attributes=attributes)
        self._utterance: Span = INVALID_SPAN
        self._speaking = False

    def heard(self, events: list[StreamEvent]) -> None:
        """What has been told."""
        for event in events:
            if isinstance(event, SpeechStarted) and not self._speaking:
                self._speaking = True
                self._utterance = tracing.start_span(names.SPAN_UTTERANCE, parent=tracing.context_of(self._lease))
            elif isinstance(event, Heard) and self._speaking:
                self._utterance.set_attribute("parley.utterance", event.utterance)
                self._utterance.set_attribute("parley.work_ms", event.work_ms)
                self._utterance.set_attribute("parley.words", len(event.words))
                self._utterance.end()
                self._speaking = False

    def end(self, outcome: str) -> None:
        """The lease is over. Idempotent as spans are."""
        if self._speaking:
            self._speaking = False
            self._utterance.end()
        self._lease.set_attribute(names.ATTR_STATUS, outcome)
        self._lease.end()
