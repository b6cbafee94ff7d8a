"""The data assistant from end to end: readings in over HTTP and the command, questions over a plain socket, and a
worker that is killed in the middle of an answer.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from parley_testkit.stack import Lab, Service, Stack

from .harness import parley
from .sockets import opened

pytestmark = pytest.mark.e2e

SENSORS = 40
TRIES = 20
"""Answers asked for until one is met under way: on a busy machine it may be over before it is seen."""


@pytest.fixture(scope="module")
def ponds(lab: Lab) -> Iterator[Stack]:
    """Two of each, answers slow enough to be interrupted, forty ponds measured once this hour."""
    roles = {"rag": 2, "inference": 2, "gateway": 2}
    with lab.stack("ponds", roles=roles, PARLEY_ENGINE="extractive", PARLEY_EXTRACTIVE_PACE_MS="20") as running:
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        rows = [f"temp,pond-{n},{hour.isoformat()},{20 + n / 10:.2f},℃" for n in range(1, SENSORS + 1)]
        rows += [f"do,pond-1,{(hour - timedelta(days=40)).isoformat()},7.10,mg/L", "do,pond-1,never,1,mg/L"]
        body = "\n".join(["metric,sensor,timestamp,value,unit", *rows])
        answer = httpx.post(f"{running.url}/v1/readings", content=body.encode(), trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["stored"] == SENSORS + 1
        assert [row["line"] for row in answer.json()["refused"]] == [SENSORS + 3]
        yield running


@asynccontextmanager
async def assistant(service: Service) -> AsyncIterator[ClientConnection]:
    async with connect(service.url.replace("http", "ws") + "/") as socket:
        yield socket


async def ask(socket: ClientConnection, message: str, **fields: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"message": message, **fields}))
    async with asyncio.timeout(30):
        reply: dict[str, Any] = json.loads(await socket.recv())
    return reply


async def test_a_question_is_answered_from_the_readings(ponds: Stack) -> None:
    async with assistant(ponds.gateway) as socket:
        reply = await ask(socket, "查询最近的水温数据", session_id="user_001", context={"sensor": "pond-7"})
        assert (reply["status"], reply["intent"], reply["session_id"]) == ("success", "数据查询", "user_001")
        assert reply["route_decision"] == {"decision": "query_data", "needs_data": True}
        (entry,) = reply["data_used"]
        assert (entry["type"], entry["metric"], len(entry["readings"])) == ("sensor_data", "temp", 1)
        assert (entry["readings"][0]["value"], entry["readings"][0]["sensor"]) == (20.7, "pond-7")
        assert "20.70℃" in reply["response"]
        old = await ask(socket, "latest dissolved oxygen")
        assert "7.10 mg/L" in old["response"]
        assert "40 days ago" in old["response"] or "39 days ago" in old["response"]
        none = await ask(socket, "昨天浊度最高多少")
        assert (none["status"], none["data_used"][0]["readings"]) == ("success", [])
        assert "没有浊度读数" in none["response"]


async def test_other_questions_go_to_the_knowledge_base(ponds: Stack) -> None:
    async with assistant(ponds.gateway) as socket:
        for message, intent, route in (
            ("What is water temperature?", "知识问答", "knowledge_base"),
            ("你好", "闲聊", "small_talk"),
        ):
            reply = await ask(socket, message)
            assert (reply["status"], reply["intent"], reply["data_used"]) == ("success", intent, [])
            assert reply["route_decision"] == {"decision": route, "needs_data": False}
        wrong = await ask(socket, "现在水温多少", context={"time_range": "whenever"})
        assert wrong["status"] == "error"
        assert "time_range" in wrong["response"]
        unknown = await ask(socket, "栅栏是什么", context={"kb": "nowhere"})
        assert (unknown["status"], "nowhere" in unknown["response"]) == ("error", True)


async def test_a_session_goes_on_at_another_gateway(ponds: Stack) -> None:
    first, second = ponds.of("gateway")
    async with assistant(first) as socket:
        assert "24.00℃" in (await ask(socket, "今天水温最高是多少", session_id="s-9"))["response"]
    async with assistant(second) as socket:
        reply = await ask(socket, "那最低呢？", session_id="s-9")
        assert "20.10℃" in reply["response"]


async def test_native_clients_are_told_the_readings_too(ponds: Stack) -> None:
    async with opened(ponds.url) as socket:
        await socket.start("t1", "current water temperature in pond 3")
        done = await socket.until_done("t1")
        (found,) = [frame for frame in socket.frames if frame["type"] == "retrieval"]
        assert (found["route"], found["data"][0]["readings"][0]["value"]) == ("query_data", "20.30")
        assert "20.30 ℃" in done["text"]


async def test_a_killed_worker_changes_no_figure(ponds: Stack) -> None:
    async with assistant(ponds.gateway) as socket:
        want = await ask(socket, "现在水温多少")
        for _ in range(TRIES):
            await socket.send(json.dumps({"message": "现在水温多少", "session_id": "kill"}))
            answered = asyncio.create_task(socket.recv())
            victim = await asyncio.to_thread(_at_work, ponds, answered.done)
            if victim is not None:
                break
        assert victim is not None, "no answer was met under way"
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            async with asyncio.timeout(60):
                reply = json.loads(await answered)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
    assert (reply["status"], reply["response"]) == ("success", want["response"])
    assert reply["data_used"] == want["data_used"]
    assert len(reply["data_used"][0]["readings"]) == SENSORS


def _at_work(stack: Stack, answered: Callable[[], bool]) -> Service | None:
    """The inference process with a seat taken, waited for; None: the answer came before it was seen."""
    while not answered():
        for one in stack.of("inference"):
            if one.get("/statusz").json().get("busy", 0):
                return one
    return None


async def test_the_command_brings_files_in(ponds: Stack, tmp_path: Path) -> None:
    file = tmp_path / "ph.json"
    moment = datetime.now(UTC).isoformat()
    file.write_text(json.dumps([{"metric": "pH", "sensor": "pond-1", "timestamp": moment, "value": "7.40"}, {"a": 1}]))
    done = await asyncio.to_thread(parley, ponds.url, "readings", "import", str(file))
    assert (done.returncode, "1 stored, 1 refused" in done.stdout) == (1, True), done.stderr
    assert f"{file}:2: value is missing" in done.stderr
    listed = await asyncio.to_thread(parley, ponds.url, "readings", "list")
    assert "ph" in listed.stdout
    async with assistant(ponds.gateway) as socket:
        assert "7.40" in (await ask(socket, "当前pH值"))["response"]


def test_readiness_and_health(ponds: Stack) -> None:
    def get(path: str) -> httpx.Response:
        return httpx.get(ponds.url + path, trust_env=False, timeout=60)

    assert get("/health").json() == {"status": "healthy", "service": "GPU Server", "broker": "up"}
    assert get("/healthz").json() == {"status": "ok"}
    ready = get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["workers"]) == (200, None)
