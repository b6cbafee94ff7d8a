"""One trace from socket to socket, metrics under registered names, and no word of a user anywhere."""

import re
import uuid
from typing import Any

import pytest

from parley_runtime.telemetry import names
from parley_testkit.stack import Stack, soon

from .sockets import opened

pytestmark = pytest.mark.e2e


async def test_one_trace_from_socket_to_socket(stack: Stack) -> None:
    secret, turn = f"zz{uuid.uuid4().hex}", uuid.uuid4().hex
    async with opened(stack.url) as socket:
        await socket.start(turn, f"When does the heating {secret} start?", kb="handbook")
        done = await socket.until_done(turn)
        session = socket.memory.session
    assert done["status"] == "completed"

    def trace() -> list[dict[str, Any]]:
        spans = stack.spans()
        ids = {span["trace_id"] for span in spans if span["attributes"].get(names.ATTR_CONVERSATION) == session[:8]}
        mine = [span for span in spans if span["trace_id"] in ids]
        return mine if any(span["name"] == names.SPAN_TURN for span in mine) else []

    spans = await soon(trace, "the turn's trace", limit_s=30)
    assert len({span["trace_id"] for span in spans}) == 1
    by_name = {span["name"]: span for span in spans}
    wanted = {
        "turn": "parley-gateway",
        "process retrieve": "parley-rag",
        "retrieval handbook": "parley-rag",
        "send generate": "parley-rag",
        "process generate": "parley-inference",
        "chat extractive": "parley-inference",
        "send record": "parley-inference",
        "record": "parley-rag",
        "deliver": "parley-gateway",
    }
    assert {name: by_name[name]["service"] for name in wanted if name in by_name} == wanted

    ids = {span["span_id"]: span for span in spans}
    roots = [span for span in spans if not span["parent_id"]]
    assert [span["name"] for span in roots] == ["turn"]
    assert all(span["parent_id"] in ids for span in spans if span["parent_id"])

    def above(name: str) -> list[str]:
        path, span = [], by_name[name]
        while span["parent_id"]:
            span = ids[span["parent_id"]]
            path.append(span["name"])
        return path

    assert above("chat extractive")[0] == "process generate"
    assert above("retrieval handbook")[0] == "process retrieve"
    assert above("record")[-1] == "turn"
    assert above("process generate")[-1] == "turn"
    assert above("deliver") == ["turn"]
    assert all(span["start_ns"] <= span["end_ns"] for span in spans)

    everything = stack.trace_file.read_text(encoding="utf-8") + stack.logs()
    assert secret not in everything
    assert "eleven degrees" not in everything


REGISTERED = {metric.name: metric for metric in names.metrics()}
_SERIES = re.compile(r"^(parley_[a-z_]+?)(_bucket|_sum|_count|_created)?(\{[^}]*\})? ", re.M)


def registered(series: str) -> bool:
    return series in REGISTERED or any(
        series == name + suffix
        for name, metric in REGISTERED.items()
        for suffix in ("_bucket", "_sum", "_count", "_created")
        if metric.kind == "histogram" or suffix == "_created"
    )


def value(text: str, series: str) -> float:
    """Sum over the label sets that ``series`` begins."""
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(series))


async def test_metrics_move_and_have_registered_names(stack: Stack) -> None:
    gateway, rag, inference = stack.gateway, stack.of("rag")[0], stack.of("inference")[0]
    watched = [
        (gateway, 'parley_turns_total{status="completed"}'),
        (gateway, "parley_turn_seconds_count"),
        (gateway, "parley_first_token_seconds_count"),
        (gateway, "parley_frames_out_total"),
        (rag, 'parley_jobs_total{outcome="'),
        (rag, 'parley_records_total{outcome="stored"}'),
        (rag, "parley_retrieve_seconds_count"),
        (inference, "parley_engine_first_token_seconds_count"),
        (inference, 'parley_tokens_total{direction="output"'),
    ]
    before = [value(service.metrics(), series) for service, series in watched]
    turn = uuid.uuid4().hex
    async with opened(stack.url) as socket:
        await socket.start(turn, "When does the heating start?", kb="handbook")
        await socket.until_done(turn)
    await soon(
        lambda: all(
            value(service.metrics(), series) > was for (service, series), was in zip(watched, before, strict=True)
        ),
        "every counter moved",
        limit_s=30,
    )
    for service in (gateway, rag, inference):
        text = service.metrics()
        found = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if line.startswith("parley_")}
        assert found
        unknown = {series for series in found if not registered(series)}
        assert not unknown
        assert turn not in text
    assert value(gateway.metrics(), "parley_turns_open ") == 0


async def test_health_ports_answer(stack: Stack) -> None:
    for service in stack.services:
        assert service.get("/livez").status_code == 200
        ready = service.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        assert service.get("/nowhere").status_code == 404
