"""Settings of the dialects, a group for each that has any."""

from dataclasses import dataclass, field

from parley_runtime.answering import AsrEngineChoice, EngineChoice, asr_engine
from parley_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrSettings:
    """The realtime ASR dialect."""

    kb: str = setting("PARLEY_ASR_KB", "default", "Knowledge base of the realtime ASR dialect's questions")
    queued: int = setting(
        "PARLEY_ASR_QUEUED",
        8,
        "Questions of a realtime ASR socket that wait while one is answered",
        unit="questions",
        minimum=0,
        maximum=1000,
    )
    choice: AsrEngineChoice = field(default_factory=AsrEngineChoice)

    def engine(self, every: EngineChoice) -> str:
        """The engine of its answers; empty: the same as everybody's."""
        return asr_engine(every, self.choice)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeSettings:
    """``/v1/realtime``."""

    kb: str = setting(
        "PARLEY_REALTIME_KB", "default", "Knowledge base of /v1/realtime sockets that name none with ?kb="
    )
    session_s: float = setting(
        "PARLEY_REALTIME_SESSION_S", 3600.0, "Longest session of /v1/realtime", unit="seconds", minimum=1
    )
    max_event: int = setting(
        "PARLEY_REALTIME_MAX_EVENT",
        8 * 1024 * 1024,
        "Largest event taken from a client of /v1/realtime",
        unit="bytes",
        minimum=1024,
        maximum=16_777_216,
    )
    event_rate: float = setting(
        "PARLEY_REALTIME_RATE",
        200.0,
        "Events a socket of /v1/realtime may send, audio included",
        unit="per second",
        zero="no bound",
        minimum=0,
    )
    event_burst: int = setting(
        "PARLEY_REALTIME_BURST", 1000, "Events a socket of /v1/realtime may send at once", minimum=1
    )
    items: int = setting(
        "PARLEY_REALTIME_ITEMS", 1000, "Items of a conversation of /v1/realtime; the oldest give way", minimum=2
    )
    text: int = setting(
        "PARLEY_REALTIME_TEXT",
        1_048_576,
        "Text of a conversation of /v1/realtime; the oldest items give way",
        unit="code points",
        minimum=1000,
    )
    prompt: int = setting(
        "PARLEY_REALTIME_PROMPT",
        65_536,
        "What an engine is told of a conversation of /v1/realtime, from its end",
        unit="code points",
        minimum=1000,
    )
    modality: str = setting(
        "PARLEY_REALTIME_MODALITY",
        "audio",
        "What answers of /v1/realtime are where a client does not say, audio or text",
    )
    lead_s: float = setting(
        "PARLEY_REALTIME_LEAD_S",
        5.0,
        "Audio of an answer of /v1/realtime that is sent ahead of its being played",
        unit="seconds",
        minimum=0.1,
        maximum=10,
    )
    beside: int = setting(
        "PARLEY_REALTIME_BESIDE",
        8,
        "Responses outside the conversation that a socket of /v1/realtime may have under way",
        unit="responses",
        minimum=1,
    )
    dictated: int = setting(
        "PARLEY_REALTIME_DICTATED",
        4,
        "Items of a socket of /v1/realtime whose audio is being heard at a time",
        unit="items",
        minimum=1,
    )

    def __post_init__(self) -> None:
        if self.modality not in ("audio", "text"):
            raise ValueError("PARLEY_REALTIME_MODALITY: must be audio or text")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactSettings:
    """The contact chat."""

    webhook: str = setting(
        "PARLEY_CONTACT_WEBHOOK",
        "",
        "Address that workers POST each contact request to, as JSON; the same in gateways and rag; empty: none",
        secret=True,
    )
    notify_s: float = setting(
        "PARLEY_CONTACT_NOTIFY_S",
        3.0,
        "Time for the broker to confirm a notice for the webhook",
        unit="seconds",
        minimum=0.1,
    )
    poll_s: float = setting(
        "PARLEY_CONTACT_POLL_S",
        2.0,
        "Time between looks for contact messages whose news was lost",
        unit="seconds",
        minimum=0.05,
    )
    broadcast_s: float = setting(
        "PARLEY_CONTACT_BROADCAST_S",
        2.0,
        "Time for gateways to say whom a message of the owner has reached",
        unit="seconds",
        minimum=0.1,
    )
    waiting: int = setting(
        "PARLEY_CONTACT_WAITING", 128, "Questions of one visitor that may wait for their answers", minimum=1
    )

    def __post_init__(self) -> None:
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError("PARLEY_CONTACT_WEBHOOK: must begin with http:// or https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class TutorSettings:
    """Tutor sessions."""

    max_sessions: int = setting(
        "MAX_SESSIONS", 10, "Tutor sessions that may be active, across all gateways", unit="sessions", minimum=1
    )
    timeout_s: float = setting(
        "SESSION_TIMEOUT_SECONDS",
        3600.0,
        "A tutor session without a frame from its client, and without an answer in progress, ends after",
        unit="seconds",
        minimum=0.5,
    )
    websocket_url: str = setting(
        "WEBSOCKET_URL",
        "",
        "Public address of the sockets of tutor sessions, without their path; empty: scheme and host of the request",
    )
    engine_url: str = setting(
        "ENGINE_URL", "", "Address of the engine that the web side begins sessions at; empty: this gateway"
    )
    engine_token: str = setting("ENGINE_TOKEN", "", "Token that ENGINE_URL demands", secret=True)
    engine_s: float = setting(
        "PARLEY_ENGINE_CALL_S", 10.0, "Time for ENGINE_URL to answer", unit="seconds", minimum=0.1
    )
    max_audio: int = setting(
        "PARLEY_MAX_AUDIO",
        8 * 1024 * 1024,
        "Largest audio frame taken from a tutor session's client",
        unit="bytes",
        minimum=1024,
        maximum=16_777_216,
    )
    waiting: int = setting(
        "PARLEY_TUTOR_WAITING", 32, "Questions of one tutor socket that may wait for their answers", minimum=1
    )

    def __post_init__(self) -> None:
        if self.websocket_url and not self.websocket_url.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError("WEBSOCKET_URL: must begin with ws:// or wss://")
        if self.engine_url and not self.engine_url.startswith(("http://", "https://")):
            raise ValueError("ENGINE_URL: must begin with http:// or https://")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    """Contract review."""

    queued: int = setting(
        "PARLEY_REVIEW_QUEUED",
        100,
        "Reviews of all tenants that have not ended; further ones are refused with 503",
        unit="reviews",
        minimum=1,
    )
    poll_s: float = setting(
        "PARLEY_REVIEW_POLL_S",
        2.0,
        "Time between looks at a review that sockets watch, for news that was lost",
        unit="seconds",
        minimum=0.05,
    )
