"""Structured logs on stderr: one line per event, from this code and from every library alike.

Nothing that a user said and nothing secret is written: values under the keys in :data:`REDACTED`, user and password in
URLs, secrets in query strings and bearer tokens are blotted out wherever they appear, in libraries' lines too.
"""

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from parley_runtime.settings import CommonSettings, LogFormat, LogLevel

REDACTED = frozenset(
    {"answer", "api_key", "authorization", "body", "content", "cookie", "passwd", "password", "prompt"}
    | {"query", "question", "secret", "text", "token"}
)
"""Keys whose values are never written (case does not matter)."""

BLOT = "***"
_MAX_DEPTH = 4
_MAX_VALUE = 2000
_MAX_TRACEBACK = 8000

_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/\"'<>]*@")
_QUERY = re.compile(
    r"((?:[?&;]key|\b(?:[a-z]+_)?(?:token|api_?key|secret|password|passwd|authorization|signature))=)[^&\s\"'<>#;]*",
    re.I,
)
_BEARER = re.compile(r"(\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.I)

# Below these levels the library logs frames, statements or a line per request.
_FLOORS = {
    "aio_pika": logging.INFO,
    "aiormq": logging.INFO,
    "aiosqlite": logging.WARNING,
    "asyncio": logging.INFO,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "websockets": logging.INFO,
}
_OWN_HANDLERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger; ``name`` is the module's. ``log.info("event", key=value)``: the event is a fixed short phrase."""
    if not structlog.is_configured():
        _configure(logging.INFO)
    return cast(FilteringBoundLogger, structlog.get_logger(name))


def setup(role: str, process_id: str, common: CommonSettings, stream: TextIO | None = None) -> None:
    """Send every event, from structlog and from the standard library's loggers, to ``stream`` (stderr). Replaces all
    handlers that were set before.
    """
    level = getattr(logging, common.log_level.name)
    _configure(level)
    debug = common.log_level is LogLevel.DEBUG
    finish = _json_line if common.log_format is LogFormat.JSON else _TextLine(debug)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _Origin(role, process_id),
                finish,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _OWN_HANDLERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name, floor in _FLOORS.items():
        logging.getLogger(name).setLevel(max(level, floor))
    logging.captureWarnings(True)


def scrub(value: str) -> str:
    """``value`` without userinfo in URLs, secrets in query strings and bearer tokens."""
    if "://" in value:
        value = _USERINFO.sub(rf"\1{BLOT}@", value)
    if "=" in value:
        value = _QUERY.sub(rf"\1{BLOT}", value)
    return _BEARER.sub(rf"\1{BLOT}", value)


def _configure(level: int) -> None:
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _explain,
        _redact,
    ]


def _explain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """``exc_info`` becomes ``error`` and ``traceback``."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    elif not isinstance(info, tuple):
        info = sys.exc_info()
    if info[0] is not None:
        event.setdefault("error", f"{info[0].__name__}: {info[1]}")
        event["traceback"] = "".join(traceback.format_exception(*info))[-_MAX_TRACEBACK:]
    return event


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        # structlog's own entries; they never reach the line.
        if not key.startswith("_"):
            event[key] = BLOT if key.lower() in REDACTED else _clean(value, 0, _MAX_TRACEBACK)
    return event


def _clean(value: Any, depth: int, limit: int = _MAX_VALUE) -> Any:
    """``value`` as something JSON can hold: scrubbed, cut to ``limit`` characters and :data:`_MAX_DEPTH` levels."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _clean_items(value, depth + 1) if depth < _MAX_DEPTH else "..."
    # Scrubbed before it is cut: half a secret may not be recognised as one.
    text = scrub(str(value))
    return text if len(text) <= limit else text[:limit] + "..."


def _clean_items(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {str(key): BLOT if str(key).lower() in REDACTED else _clean(item, depth) for key, item in value.items()}
    return [_clean(item, depth) for item in value]


class _Origin:
    """Says which process a line is from, and puts the fixed fields first."""

    def __init__(self, role: str, process_id: str) -> None:
        self._fixed = {"role": role, "id": process_id}

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        head = {"ts": event.pop("ts", ""), "level": event.pop("level", ""), **self._fixed}
        return {**head, "event": event.pop("event", ""), **event}


_json_renderer = structlog.processors.JSONRenderer(ensure_ascii=False)


def _json_line(logger: WrappedLogger, name: str, event: EventDict) -> str:
    # JSON leaves these as they are, but many readers take them for the end of a line.
    line = str(_json_renderer(logger, name, event))
    return line.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


class _TextLine:
    """``12:00:00.123 info  rag-1a2b3c4d ready  port=8000``. A traceback only where ``debug`` is set."""

    def __init__(self, debug: bool) -> None:
        self._debug = debug

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> str:
        stamp, level, origin = str(event.pop("ts"))[11:23], event.pop("level"), event.pop("id")
        event.pop("role")
        event.pop("logger", None)
        trace = event.pop("traceback", "")
        head = f"{stamp} {level:<7} {origin} {_plain(event.pop('event'))}"
        line = "  ".join([head, *(f"{key}={_plain(value)}" for key, value in event.items())])
        return f"{line}\n{trace.rstrip()}" if trace and self._debug else line


def _plain(value: Any) -> str:
    """One line, whatever it holds: a control character cannot forge a second line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(value))
