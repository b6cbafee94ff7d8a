"""Settings that every process has: broker, store, logs, health, drain, traces."""

import enum
import re
from dataclasses import dataclass
from typing import Protocol

from parley_runtime.config import setting

_PROCESS_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class LogLevel(enum.StrEnum):
    """The least severe level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """``json``: one JSON object per line. ``text``: one readable line."""

    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """The nested group ``common`` of each service's settings."""

    amqp_url: str = setting(
        "AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/", "Address of RabbitMQ, with user and virtual host", secret=True
    )
    store_url: str = setting(
        "PARLEY_STORE",
        "sqlite+aiosqlite:///.parley/parley.db",
        "SQLAlchemy address of the store: sqlite+aiosqlite or postgresql+asyncpg",
        secret=True,
    )
    log_level: LogLevel = setting("PARLEY_LOG_LEVEL", LogLevel.INFO, "Least severe level that is logged")
    log_format: LogFormat = setting("PARLEY_LOG_FORMAT", LogFormat.JSON, "Shape of log lines")
    health_host: str = setting("PARLEY_HEALTH_HOST", "127.0.0.1", "Address that the health port binds")
    health_port: int = setting(
        "PARLEY_HEALTH_PORT",
        0,
        "Port of /livez, /readyz, /metrics and /statusz",
        unit="port",
        zero="no health port",
        minimum=0,
        maximum=65_535,
    )
    drain_s: float = setting(
        "PARLEY_DRAIN_S",
        25.0,
        "Time for work in flight to finish after SIGTERM",
        unit="seconds",
        zero="hand everything over at once",
        minimum=0,
        maximum=3600,
    )
    heartbeat_s: float = setting(
        "PARLEY_HEARTBEAT_S",
        5.0,
        "Broker heartbeat; a silent peer is given up after 2.5 of them",
        unit="seconds",
        minimum=1,
        maximum=60,
    )
    admission: int = setting(
        "PARLEY_ADMISSION",
        10_000,
        "Turns that may wait at the first stage; the same in every process of one broker",
        unit="turns",
        zero="no bound",
        minimum=0,
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "OTLP/HTTP collector of traces, for example http://127.0.0.1:4318; empty: none",
    )
    trace_file: str = setting(
        "PARLEY_TRACE_FILE", "", "File that ended spans are appended to, one JSON object per line; empty: none"
    )
    process_id: str = setting(
        "PARLEY_PROCESS_ID", "", "Name of this process on the broker; empty: its role and a random part"
    )

    def __post_init__(self) -> None:
        if self.process_id and not _PROCESS_ID.fullmatch(self.process_id):
            raise ValueError("PARLEY_PROCESS_ID: use 1 to 64 of the characters A-Z a-z 0-9 _ . -")
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise ValueError("OTEL_EXPORTER_OTLP_ENDPOINT: must begin with http:// or https://")


class HasCommon(Protocol):
    """A service's settings: any frozen dataclass with the field ``common``."""

    @property
    def common(self) -> CommonSettings: ...
