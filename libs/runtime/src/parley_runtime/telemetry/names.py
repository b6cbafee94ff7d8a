"""Every metric, span, span attribute and log event name, in one place. Tests compare dashboards and docs with it.

Labels are bounded sets: never a session, turn, gateway or worker id.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric's name, kind, help and labels; ``buckets`` in the metric's unit."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# The buckets of OpenTelemetry's GenAI conventions for time to first token, in seconds.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)

_METRICS: dict[str, MetricName] = {}


def _metric(
    name: str, kind: Kind, text: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = ()
) -> MetricName:
    metric = MetricName(name, kind, text, labels, buckets)
    _METRICS[name] = metric
    return metric


def metrics() -> tuple[MetricName, ...]:
    """All registered metrics."""
    return tuple(_METRICS.values())


# Broker
LINK_STATE = _metric("parley_link_up", "gauge", "1 while a broker link is up.", ("purpose",))
LINK_RECONNECTS = _metric("parley_link_reconnects_total", "counter", "Broker links that were lost.", ("purpose",))
PUBLISHES = _metric("parley_publishes_total", "counter", "Publishes by outcome.", ("exchange", "outcome"))
PUBLISH_SECONDS = _metric("parley_publish_seconds", "histogram", "Publish to confirm.", ("exchange",), SECONDS)
DELIVERIES = _metric("parley_deliveries_total", "counter", "Deliveries taken.", ("queue", "redelivered"))

# Worker loop
JOBS = _metric("parley_jobs_total", "counter", "Jobs by stage and outcome.", ("stage", "outcome"))
JOB_WAIT_SECONDS = _metric("parley_job_wait_seconds", "histogram", "Time in the stage's queue.", ("stage",), SECONDS)
JOB_WORK_SECONDS = _metric("parley_job_work_seconds", "histogram", "Time at work in the stage.", ("stage",), SECONDS)
SEATS = _metric("parley_seats", "gauge", "Seats of a stage in this process.", ("stage",))
SEATS_BUSY = _metric("parley_seats_busy", "gauge", "Seats at work.", ("stage",))
CANCEL_SECONDS = _metric("parley_cancel_seconds", "histogram", "Stop received to seat free.", ("stage",), SECONDS)
RETRIES = _metric("parley_retries_total", "counter", "Jobs sent to the retry ladder.", ("stage", "rung"))
DEAD_LETTERS = _metric("parley_dead_letters_total", "counter", "Messages parked.", ("queue", "reason"))
CLAIMS = _metric("parley_claims_total", "counter", "Store claims by outcome.", ("stage", "outcome"))
WASTED = _metric(
    "parley_wasted_generations_total", "counter", "Runs whose output was thrown away, by why.", ("stage", "why")
)
WASTED_TOKENS = _metric(
    "parley_wasted_tokens_total",
    "counter",
    "Tokens of runs whose output was thrown away: the engine's count, else pieces of text.",
    ("stage", "why"),
)
BATCHES = _metric("parley_event_batches_total", "counter", "Event batches by outcome.", ("outcome",))
BATCH_EVENTS = _metric("parley_event_batch_events_total", "counter", "Events in batches sent.")
CONTROL_LOST = _metric("parley_control_lost_total", "counter", "Control messages that could not be published.")
EVENTS_DROPPED = _metric("parley_events_dropped_total", "counter", "Events given up before sending.", ("reason",))
UNDECODABLE = _metric("parley_undecodable_total", "counter", "Messages that could not be decoded.", ("where",))

# Gateway
CONNECTIONS = _metric("parley_connections", "gauge", "Open sockets.", ("dialect",))
CONNECTS = _metric("parley_connects_total", "counter", "Sockets by outcome.", ("dialect", "outcome"))
CLOSES = _metric("parley_closes_total", "counter", "Closed sockets by code.", ("dialect", "code"))
FRAMES_IN = _metric("parley_frames_in_total", "counter", "Frames from clients.", ("dialect", "kind"))
FRAMES_OUT = _metric("parley_frames_out_total", "counter", "Frames to clients.", ("dialect",))
FRAME_ERRORS = _metric("parley_frame_errors_total", "counter", "Frames refused.", ("dialect", "code"))
SESSIONS = _metric("parley_sessions", "gauge", "Sessions held by this gateway.")
TURNS = _metric("parley_turns_total", "counter", "Turns ended, by status.", ("status",))
DETACHED_TURNS = _metric(
    "parley_detached_turns_total", "counter", "Turns that ended while no socket followed, by outcome.", ("outcome",)
)
DETACHED_CHARACTERS = _metric(
    "parley_detached_characters_total", "counter", "Characters of answers that came while no socket followed."
)
REFUSED = _metric("parley_refused_total", "counter", "Turns, sessions and sockets refused, by bound.", ("bound",))
SERVICE_RATE = _metric("parley_service_rate", "gauge", "Turns that end per second at this gateway, averaged.")
TURNS_OPEN = _metric("parley_turns_open", "gauge", "Turns begun and not done.")
FIRST_TOKEN_SECONDS = _metric(
    "parley_first_token_seconds", "histogram", "Turn taken in to first answer text.", (), SECONDS
)
TURN_SECONDS = _metric("parley_turn_seconds", "histogram", "Turn taken in to its terminal.", (), SECONDS)
EVENTS_IN = _metric("parley_events_in_total", "counter", "Events from workers by verdict.", ("verdict",))
WATCHES = _metric("parley_watches_total", "counter", "Turns watched, by cause.", ("cause",))
FORCED_AGAIN = _metric(
    "parley_forced_again_total", "counter", "Forced records published again: confirmed, and the turn stayed open."
)
RESUMES = _metric("parley_resumes_total", "counter", "Resumed sessions by verdict.", ("verdict",))
CONTACT_MESSAGES = _metric(
    "parley_contact_messages_total", "counter", "Contact chat messages kept.", ("sender", "kind")
)
TUTOR_SESSIONS = _metric("parley_tutor_sessions_total", "counter", "Tutor sessions by outcome.", ("outcome",))
HTTP_REQUESTS = _metric("parley_http_requests_total", "counter", "HTTP requests.", ("route", "status"))
LOOP_LAG_SECONDS = _metric("parley_loop_lag_seconds", "gauge", "Longest event loop pause of the last second.")

STREAMS = _metric("parley_audio_streams", "gauge", "Streams of audio at this gateway.")
LEASES_AGAIN = _metric(
    "parley_audio_leases_again_total",
    "counter",
    "Streams that another worker had to be asked for, by cause.",
    ("cause",),
)
LEASE_SECONDS = _metric(
    "parley_audio_lease_seconds", "histogram", "Stream opened to a recogniser listening to it.", (), SECONDS
)
AUDIO_REPLAYED = _metric("parley_audio_replayed_bytes_total", "counter", "Audio sent once more to another worker.")
FIRST_AUDIO_SECONDS = _metric(
    "parley_first_audio_seconds", "histogram", "First text of a spoken answer to its first audio.", (), SECONDS
)
RESPONSES = _metric(
    "parley_realtime_responses_total",
    "counter",
    "Responses of /v1/realtime by how they ended, and why.",
    ("status", "reason"),
)
SPOKEN = _metric("parley_spoken_answers_total", "counter", "Spoken answers by what became of them.", ("outcome",))
SPOKEN_PARTS = _metric("parley_spoken_parts_total", "counter", "Parts of audio from workers.", ("verdict",))
HEARD_LOST = _metric(
    "parley_heard_lost_total", "counter", "Interrupted answers of which it was not kept how much was heard."
)
SPEAK_AGAIN = _metric("parley_speak_again_total", "counter", "Sentences asked for again: their audio did not come.")
SPEECH_TEXT_SECONDS = _metric(
    "parley_speech_text_seconds",
    "histogram",
    "End of speech, by the client or by silence known, to its whole transcript here.",
    (),
    SECONDS,
)
SPEECH_ANSWER_SECONDS = _metric(
    "parley_speech_answer_seconds", "histogram", "The same moment to the first text of the answer.", (), SECONDS
)
SPEECH_CUTOFFS = _metric(
    "parley_speech_cutoffs_total",
    "counter",
    "Utterances that silence had ended, and speech within the next second said otherwise.",
)
FLOOR = _metric(
    "parley_floor_total",
    "counter",
    "What speech did to answers (pause, resume, interrupt) and what became of it (take, ignore).",
    ("act",),
)

EARLY = _metric(
    "parley_early_retrieval_total",
    "counter",
    "Passages looked for at a pause in speech. Gateway: asked, then resumed (speech went on), late (not there when the "
    "question was), failed, nothing (to search, or nobody could say what was searched) or sent with the question. Rag, "
    "of those sent: used, or stale (another query by then, or another state of the base) and looked for anew.",
    ("outcome",),
)

# RAG
RETRIEVE_SECONDS = _metric("parley_retrieve_seconds", "histogram", "Search of the index.", (), SECONDS)
PASSAGES = _metric("parley_passages", "gauge", "Passages in this process's index.")
INDEX_LAG_SECONDS = _metric("parley_index_lag_seconds", "gauge", "Age of the oldest change not yet indexed.")
INGESTED = _metric("parley_ingested_total", "counter", "Documents by outcome.", ("outcome",))
READINGS = _metric("parley_readings_total", "counter", "Readings brought in, by outcome.", ("outcome",))
ROUTES = _metric("parley_routes_total", "counter", "Questions by route.", ("route",))
FORGOTTEN = _metric("parley_forgotten_total", "counter", "Rows removed for their age, by table.", ("table",))
REVIEWS = _metric("parley_reviews_total", "counter", "Contract reviews by what became of them.", ("outcome",))
REVIEWS_WATCHED = _metric("parley_reviews_watched", "gauge", "Reviews that sockets of this gateway watch.")
REVIEW_CLAUSES = _metric("parley_review_clauses_total", "counter", "Clauses of reviews by outcome.", ("outcome",))
REVIEW_FALLBACKS = _metric(
    "parley_review_fallbacks_total", "counter", "Clauses that another assessor than the chosen one judged.", ("chosen",)
)
REVIEW_SECONDS = _metric(
    "parley_review_seconds",
    "histogram",
    "Upload of a contract to its review's end.",
    (),
    (*SECONDS, 60.0, 300.0, 1800.0),
)
RECORDS = _metric("parley_records_total", "counter", "Records by outcome.", ("outcome",))
NOTICES = _metric("parley_notices_total", "counter", "Notices to the owner's webhook, by outcome.", ("outcome",))

# Inference
TOKENS = _metric("parley_tokens_total", "counter", "Tokens by direction.", ("engine", "direction"))
PHRASED = _metric("parley_phrased_total", "counter", "Answers from data phrased by a model.", ("outcome",))
ENGINE_FIRST_SECONDS = _metric(
    "parley_engine_first_token_seconds", "histogram", "Engine's time to first token.", ("engine",), SECONDS
)
ENGINE_ERRORS = _metric("parley_engine_errors_total", "counter", "Engine failures.", ("engine", "kind"))
ENGINE_PRICE = _metric(
    "parley_engine_price_total", "counter", "What answers cost, as the engine says.", ("engine", "currency")
)
ENGINE_STOPS = _metric(
    "parley_engine_stops_total", "counter", "Answers that were stopped at a server, by outcome.", ("engine", "outcome")
)

SPEECH_FIRST_SECONDS = _metric(
    "parley_speech_first_audio_seconds", "histogram", "Sentence taken to its first audio sent.", ("engine",), SECONDS
)
SPEECH_FACTOR = _metric(
    "parley_speech_real_time_factor",
    "histogram",
    "Seconds of work per second of audio, by sentence.",
    ("engine",),
    (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
)
SPEECH_CHARACTERS = _metric("parley_speech_characters_total", "counter", "Characters spoken.", ("engine",))
SPEECH_SECONDS = _metric("parley_speech_audio_seconds_total", "counter", "Audio spoken.", ("engine",))

# ASR
SPEECH_FINAL_SECONDS = _metric(
    "parley_speech_final_seconds", "histogram", "End of an utterance known to its last word told.", (), SECONDS
)
STREAM_FACTOR = _metric(
    "parley_stream_factor",
    "histogram",
    "Seconds of work per second of audio, of streams that ended.",
    (),
    (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0),
)
STREAM_FAILURES = _metric("parley_stream_failures_total", "counter", "Streams that failed, by code.", ("code",))
UTTERANCES = _metric("parley_utterances_total", "counter", "Utterances heard: with text, or empty.", ("outcome",))
PARTIALS = _metric("parley_partials_total", "counter", "Hypotheses told.")
AUDIO_SECONDS = _metric("parley_audio_seconds_total", "counter", "Audio heard.")
LISTEN_WORK_SECONDS = _metric(
    "parley_listen_work_seconds_total", "counter", "Work on audio, by part: vad, engine, or all of it.", ("part",)
)

# Spans (OpenTelemetry messaging and GenAI conventions)
SPAN_TURN = "turn"
SPAN_STREAM = "stream"
SPAN_PUBLISH = "send {destination}"
SPAN_PROCESS = "process {destination}"
SPAN_RETRIEVAL = "retrieval {kb}"
SPAN_CHAT = "chat {model}"
SPAN_RECORD = "record"
SPAN_SPEAK = "speak {model}"
SPAN_DELIVER = "deliver"
SPAN_LISTEN = "listen {engine}"
SPAN_UTTERANCE = "utterance"
SPANS = (
    SPAN_TURN,
    SPAN_STREAM,
    SPAN_PUBLISH,
    SPAN_PROCESS,
    SPAN_RETRIEVAL,
    SPAN_CHAT,
    SPAN_RECORD,
    SPAN_SPEAK,
    SPAN_DELIVER,
    SPAN_LISTEN,
    SPAN_UTTERANCE,
)

# Span attributes
ATTR_SYSTEM = "messaging.system"
ATTR_DESTINATION = "messaging.destination.name"
ATTR_OPERATION = "messaging.operation.type"
ATTR_CONVERSATION = "gen_ai.conversation.id"
ATTR_MODEL = "gen_ai.request.model"
ATTR_STATUS = "parley.turn.status"
ATTR_STAGE = "parley.stage"
ATTR_FENCE = "parley.fence"
ATTR_KB = "gen_ai.data_source.id"
ATTR_INPUT_TOKENS = "gen_ai.usage.input_tokens"
ATTR_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
