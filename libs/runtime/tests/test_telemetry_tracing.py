"""Spans: nothing when off, one trace across headers when on, and no texts in either."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from parley_runtime.settings import CommonSettings
from parley_runtime.telemetry import tracing

pytestmark = pytest.mark.unit


@pytest.fixture
async def trace_file(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "spans" / "trace.jsonl"
    tracing.setup("test", "test-1", CommonSettings(trace_file=str(path)))
    yield path
    await tracing.shutdown(5.0)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_off_is_off() -> None:
    headers: dict[str, str | int] = {"a": 1}
    with tracing.span("turn", attributes={"x": 1}) as span:
        span.set_attribute("y", 2)
        tracing.inject(headers)
    assert headers == {"a": 1}
    assert not tracing.enabled()
    assert not span.is_recording()
    assert tracing.extract({"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}) is None
    tracing.start_span("turn").end()


async def test_one_trace_across_headers(trace_file: Path) -> None:
    headers: dict[str, str | int] = {}
    with tracing.span("turn", kind="server", attributes={"gen_ai.conversation.id": "s"}):
        tracing.inject(headers)
    with (
        tracing.span("process parley.generate", kind="consumer", parent=tracing.extract(headers)),
        tracing.span("chat"),
    ):
        pass
    turn, chat, process = _rows(trace_file)
    assert (turn["name"], turn["kind"], turn["parent_id"]) == ("turn", "server", "")
    assert turn["attributes"] == {"gen_ai.conversation.id": "s"}
    assert process["parent_id"] == turn["span_id"]
    assert chat["parent_id"] == process["span_id"]
    assert {row["trace_id"] for row in (turn, chat, process)} == {turn["trace_id"]}
    assert turn["start_ns"] <= turn["end_ns"] <= process["end_ns"]
    assert (turn["service"], turn["process"], turn["status"]) == ("parley-test", "test-1", "unset")


async def test_a_span_that_outlives_its_callback(trace_file: Path) -> None:
    turn = tracing.start_span("turn")
    headers: dict[str, str | int] = {}
    tracing.inject(headers, tracing.context_of(turn))
    with tracing.span("deliver", parent=tracing.context_of(turn)):
        pass
    turn.end()
    deliver, ended = _rows(trace_file)
    assert deliver["parent_id"] == ended["span_id"]
    assert str(headers["traceparent"]).split("-")[2] == ended["span_id"]


async def test_a_failure_is_told_by_type_and_never_by_message(trace_file: Path) -> None:
    with pytest.raises(RuntimeError), tracing.span("chat"):
        raise RuntimeError("what the user said")
    with pytest.raises(asyncio.CancelledError), tracing.span("chat"):
        raise asyncio.CancelledError
    failed, cancelled = _rows(trace_file)
    assert (failed["status"], failed["attributes"]) == ("error", {"error.type": "RuntimeError"})
    assert (cancelled["status"], cancelled["attributes"]) == ("unset", {"parley.cancelled": True})
    assert "what the user said" not in str((failed, cancelled))


@pytest.mark.parametrize("bad", ["", "garbage", 7])
async def test_a_broken_header_starts_a_new_trace(trace_file: Path, bad: str | int) -> None:
    with tracing.span("turn", parent=tracing.extract({"traceparent": bad})):
        pass
    assert _rows(trace_file)[0]["parent_id"] == ""


async def test_several_writers_share_a_file(trace_file: Path) -> None:
    # One exporter per process: here one per thread, on the same file.
    def write(which: int) -> None:
        common = CommonSettings(trace_file=str(trace_file))
        provider = tracing.make_provider("test", f"test-{which}", common)
        tracer = provider.get_tracer("t")
        for _ in range(200):
            tracer.start_span("x" * 2000).end()
        provider.shutdown()

    threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(_rows(trace_file)) == 800


async def test_spans_reach_a_collector_over_http() -> None:
    got: list[tuple[str, int]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, len(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        common = CommonSettings(otlp_endpoint=f"http://127.0.0.1:{server.server_port}/")
        tracing.setup("test", "test-1", common)
        with tracing.span("turn"):
            pass
        await tracing.shutdown(5.0)
    finally:
        await asyncio.to_thread(server.shutdown)
        thread.join()
        server.server_close()
    assert got
    assert got[0][0] == "/v1/traces"
    assert got[0][1] > 0


async def test_shutdown_twice_and_spans_after_it(trace_file: Path) -> None:
    await tracing.shutdown(1.0)
    await tracing.shutdown(1.0)
    with tracing.span("late"):
        pass
    assert _rows(trace_file) == []
