"""Realtime ASR text answered by Dify: real processes, and a server that speaks Dify's contract, faults included."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from parley_testkit.dify import KEY, DifyServer, cut, error_event, refuse, silent, words
from parley_testkit.rabbit import free_port
from parley_testkit.stack import Lab, Stack, soon

from .harness import stored
from .test_realtime_asr import Asr, asr, at_work

pytestmark = pytest.mark.e2e

PORT = free_port()


@pytest.fixture(scope="module")
def dify_stack(lab: Lab) -> Iterator[Stack]:
    """Two gateways and two inference processes; only realtime ASR text is answered by Dify."""
    with lab.stack(
        "dify",
        roles={"rag": 1, "inference": 2, "gateway": 2},
        PARLEY_ENGINE="scripted",
        DIFY_API_KEY=KEY,
        DIFY_BASE_URL=f"http://127.0.0.1:{PORT}/v1",
        DIFY_TIMEOUT="2",
        DIFY_RETRIES="1",
    ) as running:
        yield running


@pytest.fixture
async def server() -> AsyncIterator[DifyServer]:
    async with DifyServer(port=PORT) as running:
        yield running


def spoken(text: str, before: int) -> str:
    return "".join(words(text, before))


async def answered(client: Asr, question: str, session: str) -> str:
    await client.say(question, session_id=session)
    await client.until(type="answer", final=True)
    await client.until(type="status", stage="listening")
    return client.text()


async def test_a_conversation_survives_every_worker_and_gateway(dify_stack: Stack, server: DifyServer) -> None:
    session = uuid.uuid4().hex
    first, second = dify_stack.of("gateway")
    async with asr(first) as client:
        assert await answered(client, "what is a fence", session) == spoken("what is a fence", 0)
    for service in dify_stack.of("inference"):
        await asyncio.to_thread(service.end, signal.SIGKILL)
        service.start()
    await asyncio.to_thread(dify_stack.wait)
    async with asr(second) as client:
        assert await answered(client, "what is a lock", session) == spoken("what is a lock", 1)
        assert await answered(client, "and what is a run", uuid.uuid4().hex) == spoken("and what is a run", 0)
    assert {ask.user for ask in server.asked[:2]} == {f"ws-user-{session}"}
    logs = dify_stack.logs()
    assert logs.count("[Dify RAG] Tokens: 18, Price: 0.0012300 USD") == 3
    assert KEY not in logs
    assert "asr text: dify (DIFY_API_KEY is set)" in logs
    metrics = "".join(service.metrics() for service in dify_stack.of("inference"))
    assert 'parley_engine_price_total{currency="USD",engine="dify"}' in metrics
    assert 'parley_tokens_total{direction="input",engine="dify"} 11.0' in metrics


async def test_stop_stops_dify_and_the_conversation_goes_on(dify_stack: Stack, server: DifyServer) -> None:
    session, question = uuid.uuid4().hex, "what is endless"
    async with asr(dify_stack) as client:
        await client.say(question, session_id=session)
        await client.until(type="answer", stream_index=3)
        await client.send(type="control", action="stop")
        await client.until(type="answer", final=True)
        await client.until(type="status", stage="idle")
        said = client.text()
        await server.until(lambda: not server.running)
        assert server.stops == [(server.asked[0].task, f"ws-user-{session}")]
        await soon(lambda: not at_work(dify_stack), "seat freed", limit_s=30)
        rows = [row for row in stored(dify_stack, question, by="question") if row["status"] == "cancelled"]
        assert said in [row["text"] for row in rows]
        assert await answered(client, "what is a lock", session) == spoken("what is a lock", 1)


@pytest.mark.parametrize(
    ("behaviours", "code", "message"),
    [
        ([refuse(401, "unauthorized")], "RAG_FAILED", "Dify API HTTP 错误 401"),
        ([refuse(404, "not_found")], "RAG_FAILED", "Dify API HTTP 错误 404"),
        ([refuse(500), refuse(500)], "RAG_FAILED", "Dify API HTTP 错误 500"),
        ([error_event(400, "completion_request_error")], "RAG_FAILED", "Dify API HTTP 错误 400"),
        ([cut(), cut()], "RAG_FAILED", "调用 RAG 服务失败：请求错误"),
        ([silent()], "RAG_TIMEOUT", "调用 RAG 服务失败：请求错误"),
    ],
    ids=["401", "404", "500 twice", "an error event", "cut twice", "silence"],
)
async def test_a_failure_is_told_in_the_known_words(
    dify_stack: Stack, server: DifyServer, behaviours: list, code: str, message: str
) -> None:
    server.behaviours += behaviours
    async with asr(dify_stack) as client:
        await client.say("what is a fence", session_id=uuid.uuid4().hex)
        frame = await client.next()
        while frame["type"] != "error":
            frame = await client.next()
        assert frame["code"] == code
        assert frame["message"].startswith(message)
        assert [(await client.next())["stage"], (await client.next())["stage"]] == ["idle", "listening"]
        assert server.behaviours == []
        assert await answered(client, "what is a lock", uuid.uuid4().hex) == spoken("what is a lock", 0)
    assert f"[Dify RAG Error] {message}" in dify_stack.logs()


async def test_a_dify_that_is_away_is_told(dify_stack: Stack) -> None:
    async with asr(dify_stack) as client:
        await client.say("what is a fence")
        frame = await client.next()
        while frame["type"] != "error":
            frame = await client.next()
        assert frame["code"] == "RAG_FAILED"
        assert frame["message"].startswith("调用 RAG 服务失败：请求错误")


async def test_a_killed_worker_is_succeeded(dify_stack: Stack, server: DifyServer) -> None:
    question = f"what is {uuid.uuid4().hex[:6]} every=200"
    async with asr(dify_stack) as client:
        await client.say(question, session_id=uuid.uuid4().hex)
        await client.until(type="answer", stream_index=7)  # "0", of "after 0 others": the next answer says "1"
        (victim,) = await asyncio.to_thread(at_work, dify_stack)
        await asyncio.to_thread(victim.end, signal.SIGKILL)
        try:
            await client.until(type="answer", final=True)
        finally:
            victim.start()
            await asyncio.to_thread(victim.wait_ready)
        (row,) = stored(dify_stack, question, by="question")
        assert (row["status"], row["text"]) == ("completed", client.text())
        # Dify answers anew, and has heard the question twice by then.
        assert client.text() == spoken(question, 1)
        assert len([frame for frame in client.frames if frame.get("restarted")]) == 1


async def test_other_dialects_keep_their_engine(dify_stack: Stack, server: DifyServer) -> None:
    asked = {"messages": [{"role": "user", "content": "what is a fence"}]}
    url = dify_stack.url + "/v1/chat/completions"
    reply = await asyncio.to_thread(httpx.post, url, json=asked, timeout=60, trust_env=False)
    assert reply.json()["choices"][0]["message"]["content"].startswith("t1 t2")
    assert server.asked == []
