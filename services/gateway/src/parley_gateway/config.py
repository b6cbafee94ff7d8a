"""The gateway's settings."""

from dataclasses import dataclass, field

from parley_gateway.dialects.settings import (
    AsrSettings,
    ContactSettings,
    RealtimeSettings,
    ReviewSettings,
    TutorSettings,
)
from parley_gateway.voice.config import EarlySettings, EarSettings, FloorSettings
from parley_gateway.voice.mouth_settings import MouthSettings
from parley_runtime.answering import EngineChoice
from parley_runtime.config import setting
from parley_runtime.settings import CommonSettings
from parley_runtime.work.options import AskOptions

SYSTEMS = ("d0", "d1", "d2", "d3", "d4")
"""The documented dialects by their short names: data assistant, contact, tutor, review, realtime ASR text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the gateway listens and whom it believes."""

    host: str = setting(
        "PARLEY_HOST", "127.0.0.1", "Address that sockets and HTTP bind", aliases=("MANAGEMENT_API_HOST",)
    )
    port: int = setting(
        "PARLEY_PORT",
        8000,
        "Port of sockets and HTTP",
        unit="port",
        zero="any free port",
        minimum=0,
        maximum=65_535,
        aliases=("MANAGEMENT_API_PORT",),
    )
    extra_ports: tuple[int, ...] = setting(
        "PARLEY_EXTRA_PORTS",
        (),
        "Further ports on which this process serves the same, for clients with a port written in (8001,8080,9000)",
        unit="ports",
        minimum=1,
        maximum=65_535,
    )
    path_prefixes: tuple[str, ...] = setting(
        "PARLEY_PATH_PREFIXES", (), "Beginnings of paths that are taken off before routing, such as /websocket"
    )
    tls_cert: str = setting(
        "PARLEY_TLS_CERT", "", "File with the certificate chain (PEM): https and wss are served instead of http and ws"
    )
    tls_key: str = setting("PARLEY_TLS_KEY", "", "File with the certificate's private key (PEM)")
    backlog: int = setting("PARLEY_BACKLOG", 2048, "Connections that wait to be taken", unit="connections", minimum=1)
    trusted_proxies: str = setting(
        "PARLEY_TRUSTED_PROXIES", "127.0.0.1,::1", "Addresses or networks whose X-Forwarded headers are believed"
    )
    ping_s: float = setting(
        "PARLEY_PING_S",
        25.0,
        "Interval of pings; a socket that leaves one unanswered is closed",
        unit="seconds",
        minimum=1,
    )
    service_name: str = setting("PARLEY_SERVICE_NAME", "GPU Server", "Name of this service, as /health tells it")
    ready_bases: tuple[str, ...] = setting(
        "PARLEY_READY_BASES",
        (),
        "Knowledge bases of the default tenant without which /readyz is not ready; parley up names its samples",
    )
    data: str = setting("PARLEY_DATA", ".parley", "Folder for what this installation keeps, such as its own secret")
    websocket_host: str = setting(
        "WEBSOCKET_HOST", "", "Accepted for the settings files of other systems and ignored: see PARLEY_HOST"
    )
    websocket_port: str = setting(
        "WEBSOCKET_PORT", "", "Accepted for the settings files of other systems and ignored: see PARLEY_EXTRA_PORTS"
    )

    def __post_init__(self) -> None:
        bad = [prefix for prefix in self.path_prefixes if not prefix.startswith("/") or prefix.endswith("/")]
        if bad:
            raise ValueError(f"PARLEY_PATH_PREFIXES: {', '.join(bad)} must begin with / and not end with it")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("PARLEY_TLS_CERT and PARLEY_TLS_KEY must be set together")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may connect."""

    auth_secret: str = setting(
        "PARLEY_AUTH_SECRET",
        "",
        "Secret of HS256 tokens and of session ids; required unless PARLEY_HOST is a loopback address",
        secret=True,
    )
    auth_jwks: str = setting("PARLEY_AUTH_JWKS", "", "Address of a JWKS document; its tokens are taken as well")
    auth_audience: str = setting("PARLEY_AUTH_AUDIENCE", "", "Audience that tokens must name; empty: any")
    origins: tuple[str, ...] = setting(
        "PARLEY_ORIGINS",
        (),
        "Origins of pages that may connect, * for any; empty: loopback pages on a loopback address, else the own host",
    )
    open_dialects: tuple[str, ...] = setting(
        "PARLEY_OPEN_DIALECTS",
        (),
        f"Documented dialects that need no token though a secret is set, of {', '.join(SYSTEMS)}",
    )

    def __post_init__(self) -> None:
        unknown = [name for name in self.open_dialects if name not in SYSTEMS]
        if unknown:
            raise ValueError(f"PARLEY_OPEN_DIALECTS: {', '.join(unknown)} is none of {', '.join(SYSTEMS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds of what one client may do."""

    max_message: int = setting(
        "PARLEY_MAX_MESSAGE",
        262_144,
        "Largest frame taken from a client",
        unit="bytes",
        minimum=1024,
        maximum=16_777_216,
    )
    max_document: int = setting(
        "PARLEY_MAX_DOCUMENT",
        12 * 1024 * 1024,
        "Largest document",
        unit="bytes",
        minimum=1,
        maximum=100 * 1024 * 1024,
    )
    max_readings: int = setting(
        "PARLEY_MAX_READINGS",
        4 * 1024 * 1024,
        "Largest body of POST /v1/readings",
        unit="bytes",
        minimum=1024,
        maximum=100 * 1024 * 1024,
    )
    max_text: int = setting("PARLEY_MAX_TEXT", 16_000, "Longest question", unit="code points", minimum=1)
    message_rate: float = setting(
        "PARLEY_MESSAGE_RATE", 20.0, "Frames a socket may send", unit="per second", zero="no bound", minimum=0
    )
    message_burst: int = setting("PARLEY_MESSAGE_BURST", 100, "Frames a socket may send at once", minimum=1)
    connect_rate: float = setting(
        "PARLEY_CONNECT_RATE", 60.0, "Sockets an address may open", unit="per minute", zero="no bound", minimum=0
    )
    connect_burst: int = setting("PARLEY_CONNECT_BURST", 30, "Sockets an address may open at once", minimum=1)
    identity_sockets: int = setting(
        "PARLEY_IDENTITY_SOCKETS", 100, "Open sockets of one user with a token", zero="no bound", minimum=0
    )
    max_sockets: int = setting("PARLEY_MAX_SOCKETS", 50_000, "Open sockets of this gateway", minimum=1)
    hello_s: float = setting("PARLEY_HELLO_S", 10.0, "Time for a client to say hello", unit="seconds", minimum=0.1)
    outbox: int = setting(
        "PARLEY_OUTBOX",
        262_144,
        "Bytes that may wait for a slow client (answer text, kept once, not counted)",
        unit="bytes",
        minimum=4096,
    )
    send_s: float = setting(
        "PARLEY_SEND_S", 10.0, "A socket that takes nothing for so long is closed", unit="seconds", minimum=0.1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSettings:
    """Turns and sessions."""

    budget_s: float = setting(
        "PARLEY_TURN_BUDGET_S",
        120.0,
        "Deadline of a turn whose client sets none, and the longest one",
        unit="seconds",
        minimum=0.1,
    )
    queued: int = setting(
        "PARLEY_QUEUED_TURNS",
        8,
        "Turns of one session that may be open; twice as many with those being ended",
        unit="turns",
        minimum=1,
    )
    publish_s: float = setting(
        "PARLEY_PUBLISH_S", 5.0, "Time for the broker to confirm a publish", unit="seconds", minimum=0.1
    )
    retry_after_s: float = setting(
        "PARLEY_RETRY_AFTER_S",
        2.0,
        "What refused clients are told to wait where the rate at which turns end is not known",
        unit="seconds",
        minimum=0,
    )
    retry_min_s: float = setting(
        "PARLEY_RETRY_MIN_S", 0.2, "Shortest wait that a refused client is told", unit="seconds", minimum=0.001
    )
    retry_max_s: float = setting(
        "PARLEY_RETRY_MAX_S", 30.0, "Longest wait that a refused client is told", unit="seconds", minimum=0.1
    )
    abandon_s: float = setting(
        "PARLEY_ABANDON_S",
        0.0,
        "How long a turn runs on while its session has no socket; 5 s later it is ended unless another gateway follows",
        unit="seconds",
        zero="to its end",
        minimum=0,
    )
    resume_s: float = setting(
        "PARLEY_RESUME_S",
        600.0,
        "How long ended turns are kept in memory for returning clients",
        unit="seconds",
        zero="not at all",
        minimum=0,
    )
    resume_bytes: int = setting(
        "PARLEY_RESUME_BYTES", 67_108_864, "Text of ended turns kept in memory", unit="bytes", minimum=0
    )
    max_sessions: int = setting("PARLEY_MAX_SESSIONS", 100_000, "Sessions held in memory", unit="sessions", minimum=1)
    prefetch: int = setting(
        "PARLEY_EVENT_PREFETCH", 256, "Event batches taken ahead of their acknowledgement", unit="messages", minimum=1
    )
    call_s: float = setting(
        "PARLEY_CALL_S", 30.0, "Time for a worker to answer a knowledge-base command", unit="seconds", minimum=0.1
    )
    ingest_s: float = setting(
        "PARLEY_INGEST_S", 120.0, "Time for a worker to read and index one document", unit="seconds", minimum=1
    )
    max_calls: int = setting("PARLEY_MAX_CALLS", 1000, "Knowledge-base commands awaiting an answer", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Everything a gateway reads from its environment."""

    common: CommonSettings = field(default_factory=CommonSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    turns: TurnSettings = field(default_factory=TurnSettings)
    asks: AskOptions = field(default_factory=AskOptions)
    engine: EngineChoice = field(default_factory=EngineChoice)
    asr: AsrSettings = field(default_factory=AsrSettings)
    realtime: RealtimeSettings = field(default_factory=RealtimeSettings)
    contact: ContactSettings = field(default_factory=ContactSettings)
    tutor: TutorSettings = field(default_factory=TutorSettings)
    reviews: ReviewSettings = field(default_factory=ReviewSettings)
    ears: EarSettings = field(default_factory=EarSettings)
    early: EarlySettings = field(default_factory=EarlySettings)
    floor: FloorSettings = field(default_factory=FloorSettings)
    mouths: MouthSettings = field(default_factory=MouthSettings)
