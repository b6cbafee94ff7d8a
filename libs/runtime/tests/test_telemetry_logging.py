"""One line per event, from our code and from libraries, and never a secret or a user's words."""

import asyncio
import io
import json
import logging
import socket
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from parley_runtime.settings import CommonSettings, LogFormat, LogLevel
from parley_runtime.telemetry.logging import REDACTED, get_logger, scrub, setup

pytestmark = pytest.mark.unit

SECRET = "s3cr3t-Value"


@pytest.fixture
def lines() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Sets logging up on a buffer; calling it again gives the lines so far. Levels that a server of another test has
    set count for nothing.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    servers = {name: logging.getLogger(name).level for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi")}
    for name in servers:
        logging.getLogger(name).setLevel(logging.NOTSET)
    stream = io.StringIO()
    setup("gateway", "gateway-1", CommonSettings(log_level=LogLevel.DEBUG), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in servers.items():
        logging.getLogger(name).setLevel(before)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _text(common: CommonSettings) -> tuple[io.StringIO, structlog.typing.FilteringBoundLogger]:
    stream = io.StringIO()
    setup("rag", "rag-1", common, stream)
    return stream, get_logger("parley_rag.test")


def test_the_fixed_fields(lines: Callable[..., list[dict[str, Any]]]) -> None:
    get_logger("parley_gateway.app").info("socket opened", dialect="native", bytes=12)
    (line,) = lines()
    assert list(line)[:5] == ["ts", "level", "role", "id", "event"]
    assert line["ts"].endswith("Z")
    assert {name: line[name] for name in line if name != "ts"} == {
        "level": "info",
        "role": "gateway",
        "id": "gateway-1",
        "event": "socket opened",
        "dialect": "native",
        "bytes": 12,
        "logger": "parley_gateway.app",
    }


@pytest.mark.parametrize("key", sorted(REDACTED))
def test_values_of_telling_keys_are_never_written(lines: Callable[..., list[dict[str, Any]]], key: str) -> None:
    log = get_logger("t")
    log.info("a", **{key: SECRET})
    log.info("b", deep={"list": [{key.upper(): SECRET}]})
    assert SECRET not in json.dumps(lines())
    assert lines()[0][key] == "***"


@pytest.mark.parametrize(
    "dirty",
    [
        f"amqp://user:{SECRET}@host:5672/",
        f"amqp://user:a@b{SECRET}@host/",
        f"cannot reach https://{SECRET}@host/v1?x=1",
        f'"WebSocket /v1/connect?token={SECRET}" [accepted]',
        f"/v1/connect?a=1&access_token={SECRET}&b=2",
        f"GET /x?api_key={SECRET}",
        f"'query_string': b'token={SECRET}'",
        f"Authorization: Bearer {SECRET}",
        f"postgresql+asyncpg://parley:{SECRET}@db/parley",
    ],
)
def test_secrets_within_text_are_blotted_out(lines: Callable[..., list[dict[str, Any]]], dirty: str) -> None:
    assert SECRET not in scrub(dirty)
    get_logger("t").info(dirty, url=dirty, deep=[{"x": (dirty,)}], error=ValueError(dirty))
    logging.getLogger("uvicorn.error").info("%s - %s", "127.0.0.1", dirty)
    error = RuntimeError(dirty)
    get_logger("t").error("failed", exc_info=error)
    logging.getLogger("aio_pika").error("failed", exc_info=error)
    assert len(lines()) == 4
    assert SECRET not in json.dumps(lines())


@given(
    st.text(alphabet="abcXYZ019-_.~%", min_size=6, max_size=30),
    st.sampled_from(["token", "access_token", "api_key", "password"]),
)
def test_no_query_secret_survives(secret: str, name: str) -> None:
    assert secret not in scrub(f"GET /path?x=1&{name}={secret}&y=2 HTTP/1.1").replace("/path?x=1&", "")


def test_what_is_not_secret_stays() -> None:
    kept = "https://example.org/a?page=2&kb=x keyword=5 monkey=1 Bearer of news 3 @ 4"
    assert scrub(kept) == kept


def test_a_library_s_line_looks_like_ours(lines: Callable[..., list[dict[str, Any]]]) -> None:
    logging.getLogger("aio_pika.robust").warning("lost %s", "it")
    (line,) = lines()
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "aio_pika.robust")


def test_uvicorn_s_own_handlers_are_taken_away(lines: Callable[..., list[dict[str, Any]]]) -> None:
    spy = io.StringIO()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(logging.StreamHandler(spy))
    logger.propagate = False
    setup("gateway", "gateway-1", CommonSettings(), io.StringIO())
    logger.info("to us")
    assert not spy.getvalue()
    assert logger.propagate


def test_frames_statements_and_requests_of_libraries_stay_out(lines: Callable[..., list[dict[str, Any]]]) -> None:
    logging.getLogger("aiormq.channel").debug("Received frame with body %r", b"words")
    logging.getLogger("sqlalchemy.engine").info("INSERT words")
    logging.getLogger("httpx").info("HTTP Request: POST words")
    assert not lines()


def test_one_line_per_event_in_both_formats(lines: Callable[..., list[dict[str, Any]]]) -> None:
    forged = 'a\nb\r\n{"level":"error"}\u2028\x1b[31m'
    get_logger("t").info(forged, x=forged)
    assert len(lines()) == 1
    stream, log = _text(CommonSettings(log_format=LogFormat.TEXT))
    log.info(forged, x=forged)
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_text_lines_keep_tracebacks_for_debug() -> None:
    for level, expected in ((LogLevel.INFO, 1), (LogLevel.DEBUG, 4)):
        stream, log = _text(CommonSettings(log_format=LogFormat.TEXT, log_level=level))
        try:
            int("none")
        except ValueError:
            log.exception("failed", part="x")
        shown = stream.getvalue().splitlines()
        assert len(shown) >= expected
        assert (len(shown) == 1) == (expected == 1)
        assert "error   rag-1 failed  part=x  error=ValueError: invalid literal" in shown[0]


def test_levels(lines: Callable[..., list[dict[str, Any]]]) -> None:
    stream = io.StringIO()
    setup("rag", "rag-1", CommonSettings(log_level=LogLevel.WARNING), stream)
    get_logger("t").info("no")
    logging.getLogger("other").info("no")
    get_logger("t").warning("yes")
    assert len(stream.getvalue().splitlines()) == 1
    assert not lines()


def test_bytes_and_long_values_are_cut(lines: Callable[..., list[dict[str, Any]]]) -> None:
    get_logger("t").info("x", raw=b"words of a user", long="y" * 100_000, deep={"a": {"b": {"c": {"d": {"e": 1}}}}})
    (line,) = lines()
    assert line["raw"] == "<15 bytes>"
    assert len(line["long"]) < 10_000
    assert line["deep"] == {"a": {"b": {"c": {"d": "..."}}}}


def test_warnings_are_events_too(lines: Callable[..., list[dict[str, Any]]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", stacklevel=1)
    assert lines()[0]["logger"] == "py.warnings"


async def test_a_real_uvicorn_never_logs_a_token(lines: Callable[..., list[dict[str, Any]]]) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", log_level="trace")
    stream = io.StringIO()
    setup("gateway", "gateway-1", CommonSettings(log_level=LogLevel.DEBUG), stream)
    started = asyncio.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    server = Server(config)
    task = asyncio.create_task(server.serve())
    await asyncio.wait_for(started.wait(), 30)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with connect(f"ws://127.0.0.1:{port}/v1/connect?token={SECRET}", proxy=None) as client:
        await client.wait_closed()
    server.should_exit = True
    await asyncio.wait_for(task, 30)
    written = stream.getvalue()
    assert "/v1/connect?token=***" in written
    assert SECRET not in written
