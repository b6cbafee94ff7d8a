"""``/v1/chat/completions`` and ``/v1/models``: bytes of the stream, shapes of answers and errors, what jobs carry."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from parley_gateway.app import Gateway
from parley_gateway.config import LimitSettings, TurnSettings
from parley_protocol.events import (
    Delta,
    Ending,
    Fault,
    Marks,
    Refusal,
    Retrieval,
    Snapshot,
    Source,
    ToolCall,
    TurnStatus,
    Usage,
)
from parley_protocol.routes import Stage
from parley_protocol.work import ChatMessage, Record, Retrieve, Tool
from parley_runtime.ports import Message

from .api_fakes import error_of, http
from .conftest import House

pytestmark = pytest.mark.unit

ASKED = {"role": "user", "content": "why?"}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"a":1}'}}
SOURCE = Source("p1", "a.md", "A", 1.5, "because of it", 0, 13)
PATH = "/v1/chat/completions"


@pytest.fixture
async def gateway(house: House) -> Gateway:
    return await house.gateway(
        limits=LimitSettings(connect_rate=0, max_message=20_000, max_text=5_000), turns=TurnSettings(queued=1)
    )


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    async with http(gateway) as made:
        yield made


def asking(client: httpx.AsyncClient, key: str = "", **fields: Any) -> "asyncio.Task[httpx.Response]":
    """The request, under way."""
    headers = {"Idempotency-Key": key} if key else {}
    return asyncio.create_task(client.post(PATH, json={"messages": [ASKED], **fields}, headers=headers))


async def end(
    house: House,
    job: Retrieve,
    status: TurnStatus,
    text: str = "",
    fault: Fault | None = None,
    ending: Ending | None = None,
) -> None:
    """Close the turn; the record's terminal goes to the gateway."""
    usage = Usage(prompt_tokens=7, completion_tokens=2)
    record = Record(
        key=job.key,
        submission=job.submission,
        budget_s=1.0,
        base=job.base,
        fence=job.fence,
        n=1 if not text else 2,
        reply_to=job.reply_to,
        question=job.question,
        status=status,
        text=text,
        sources=(SOURCE,),
        usage=usage,
        fault=fault,
        ending=ending,
    )
    await house.worker.close(record)


async def answered(house: House, text: str = "because [1]") -> Retrieve:
    """Take the next job and answer it whole."""
    job: Retrieve = await house.worker.jobs.get()
    await house.worker.emit(job, Retrieval(0, "question", "knowledge_base", (SOURCE,)), Delta(1, 0, text))
    await end(house, job, TurnStatus.COMPLETED, text)
    return job


def events(body: str) -> list[Any]:
    """The stream's events, checked to be nothing else than events of one data line."""
    assert body.endswith("\n\n")
    found: list[Any] = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        assert block.startswith("data: ")
        assert "\n" not in block
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


async def test_a_plain_answer(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, kb="handbook", model="parley")
    job = await answered(house)
    answer = await request
    body = answer.json()
    assert answer.status_code == 200
    assert body["id"] == f"chatcmpl-{job.key.turn}"
    assert (body["object"], body["model"], job.kb) == ("chat.completion", "parley", "handbook")
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "because [1]", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert body["sources"][0]["document"] == "a.md"


async def test_what_the_job_carries(house: House, client: httpx.AsyncClient) -> None:
    request = asking(
        client,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None},
            ASKED,
        ],
        max_tokens=5,
        max_completion_tokens=6,
        temperature=0.5,
        top_p=0.25,
        seed=3,
        stop="END",
        user="unknown fields are ignored",
        tools=[TOOL],
        tool_choice="required",
    )
    job = await answered(house)
    assert (await request).status_code == 200
    assert job.question == "why?"
    assert job.messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "one\ntwo"),
        ChatMessage("assistant", ""),
        ChatMessage("user", "why?"),
    )
    sampling = job.sampling
    assert (sampling.model, sampling.max_tokens, sampling.temperature) == (None, 6, 0.5)
    assert (sampling.top_p, sampling.seed, sampling.stop) == (0.25, 3, ("END",))
    assert (sampling.tools, sampling.tool_choice) == ((Tool("look_up", "", {"type": "object"}),), "required")


async def test_calls_are_told_and_what_came_of_them_is_asked_with(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, tools=[TOOL])
    job = await house.worker.jobs.get()
    await end(house, job, TurnStatus.COMPLETED, ending=Ending("", (ToolCall("c1", "look_up", '{"a":1}'),)))
    choice = (await request).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "21"}
    request = asking(client, messages=[ASKED, choice["message"], result], tools=[TOOL], stream=True)
    job = await house.worker.jobs.get()
    assert job.question == "why?"
    assert job.messages[1:] == (
        ChatMessage("assistant", "", (ToolCall("c1", "look_up", '{"a":1}'),)),
        ChatMessage("tool", "21", (), "c1"),
    )
    await end(house, job, TurnStatus.COMPLETED, ending=Ending("", (ToolCall("c2", "look_up", "{}"),)))
    found = events((await request).text)
    assert found[-3]["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "look_up", "arguments": "{}"}
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"


async def test_an_answer_that_was_cut_says_so(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client)
    await end(house, await house.worker.jobs.get(), TurnStatus.COMPLETED, "bec", ending=Ending("length"))
    assert (await request).json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "other"}}])
async def test_a_choice_that_is_not_offered(client: httpx.AsyncClient, choice: Any) -> None:
    tools = [TOOL] if isinstance(choice, dict) else []
    answer = await client.post(PATH, json={"messages": [ASKED], "tools": tools, "tool_choice": choice})
    assert answer.status_code == 400
    assert "tool_choice" in answer.json()["error"]["message"]


async def test_a_stream_in_order(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, stream=True, stream_options={"include_usage": True})
    job: Retrieve = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(0, 0, "be"))
    await house.worker.emit(job, Delta(1, 2, "cause\n\n[1]"))
    await end(house, job, TurnStatus.COMPLETED, "because\n\n[1]")
    answer = await request
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    chunks = events(answer.text)
    assert chunks[-1] == "[DONE]"
    assert chunks[-2]["choices"] == []
    assert chunks[-2]["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    middle = chunks[:-2]
    assert middle[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert middle[-1]["choices"][0]["delta"] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in middle] == [None] * (len(middle) - 1) + ["stop"]
    assert middle[-1]["sources"][0]["document"] == "a.md"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in middle) == "because\n\n[1]"
    assert {chunk["id"] for chunk in chunks[:-1]} == {f"chatcmpl-{job.key.turn}"}
    assert {chunk["object"] for chunk in chunks[:-1]} == {"chat.completion.chunk"}
    assert len({chunk["created"] for chunk in chunks[:-1]}) == 1


async def test_text_is_streamed_as_it_comes(house: House, client: httpx.AsyncClient) -> None:
    async with client.stream("POST", PATH, json={"messages": [ASKED], "stream": True}) as answer:
        lines = answer.aiter_lines()
        job: Retrieve = await house.worker.jobs.get()
        for at, word in ((0, "one"), (3, "two")):
            await house.worker.emit(job, Delta(at // 3, at, word))
            async with asyncio.timeout(30):
                while f'"content":"{word}"' not in await anext(lines):
                    pass
        await end(house, job, TurnStatus.COMPLETED, "onetwo")
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"


async def test_without_usage_wanted_none_is_streamed(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, stream=True)
    await answered(house)
    assert '"usage"' not in (await request).text


FAULT = Fault("engine_failed", "the model is away; try again", True)


async def test_a_failure_in_a_stream_is_an_error_event_without_done(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, stream=True)
    job: Retrieve = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(0, 0, "be"))
    await end(house, job, TurnStatus.FAILED, "be", FAULT)
    chunks = events((await request).text)
    assert chunks[-1] == {
        "error": {
            "message": FAULT.message,
            "type": "server_error",
            "param": None,
            "code": "engine_failed",
            "retryable": True,
        }
    }


async def test_a_lasting_failure_in_a_stream_is_not_called_retryable(house: House, client: httpx.AsyncClient) -> None:
    request = asking(client, stream=True)
    job: Retrieve = await house.worker.jobs.get()
    await end(house, job, TurnStatus.FAILED, "", Fault("unknown_kb", "no such base", False))
    error = events((await request).text)[-1]["error"]
    assert (error["code"], error["type"], error["retryable"]) == ("unknown_kb", "invalid_request_error", False)


async def test_an_answer_that_starts_anew_after_text_ends_the_stream_in_an_error(
    house: House, client: httpx.AsyncClient
) -> None:
    async with client.stream("POST", PATH, json={"messages": [ASKED], "stream": True}) as answer:
        lines = answer.aiter_lines()
        job: Retrieve = await house.worker.jobs.get()
        await house.worker.emit(job, Delta(0, 0, "be"))
        async with asyncio.timeout(30):
            while '"content":"be"' not in await anext(lines):
                pass
        await house.worker.emit(job, Snapshot(1, Marks(), "other words"))
        (last,) = [line async for line in lines if line]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"], error["retryable"]) == ("engine_failed", "server_error", True)
    assert "anew" in error["message"]
    # Without a key nobody can come for the answer any more.
    record: Record = await house.worker.records.get()
    assert (record.key, record.status) == (job.key, TurnStatus.CANCELLED)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conflict_that_only_the_store_knows_of(house: House, client: httpx.AsyncClient, stream: bool) -> None:
    request = asking(client, "k1", stream=stream)
    job: Retrieve = await house.worker.jobs.get()
    await house.worker.emit(job, Refusal(job.submission, Fault("conflict", "used for another text", False)))
    answer = await request
    error = events(answer.text)[-1]["error"] if stream else error_of(answer)
    assert (answer.status_code, error["code"], error["retryable"]) == (200 if stream else 409, "conflict", False)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_starts_anew_before_any_text_is_whole(
    house: House, client: httpx.AsyncClient, stream: bool
) -> None:
    request = asking(client, stream=stream)
    job: Retrieve = await house.worker.jobs.get()
    await house.worker.emit(job, Snapshot(1, Marks(), "fresh"))
    await end(house, job, TurnStatus.COMPLETED, "fresh")
    answer = await request
    assert answer.status_code == 200
    assert "fresh" in answer.text
    assert "error" not in answer.text


@pytest.mark.parametrize(
    ("status", "fault", "code", "http_status"),
    [
        (TurnStatus.FAILED, FAULT, "engine_failed", 502),
        (TurnStatus.FAILED, Fault("unknown_kb", "no such base; there are: x", False), "unknown_kb", 404),
        (TurnStatus.EXPIRED, Fault("expired", "too late", True), "expired", 504),
        (TurnStatus.FAILED, None, "failed", 500),
        (TurnStatus.FAILED, Fault("of another version", "odd", False), "failed", 500),
    ],
)
async def test_a_failed_turn_is_an_http_error(
    house: House, client: httpx.AsyncClient, status: TurnStatus, fault: Fault | None, code: str, http_status: int
) -> None:
    request = asking(client)
    await end(house, await house.worker.jobs.get(), status, "", fault)
    answer = await request
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (http_status, code, None)
    assert error["type"] == ("server_error" if http_status >= 500 else "invalid_request_error")
    assert error["message"]


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        pytest.param(b"{", 400, "", id="broken"),
        pytest.param(b"", 400, "", id="empty"),
        pytest.param(b"\xff\xfe", 400, "", id="not utf-8"),
        pytest.param(b"[" * 10_000, 400, "", id="deep"),
        pytest.param(b"{}", 400, "messages", id="no messages"),
        pytest.param(b'{"messages": []}', 400, "messages", id="empty messages"),
        pytest.param(b'{"messages": [{"role": "user"}]}', 400, "text", id="no content"),
        pytest.param(b'{"messages": [{"role": "wizard", "content": "x"}]}', 400, "role", id="role"),
        pytest.param(b'{"messages": [{"role": "tool", "content": "x"}]}', 400, "empty", id="nothing asked"),
        pytest.param(b'{"messages": [{"role": "assistant", "content": "x"}]}', 400, "user", id="not the user's"),
        pytest.param(
            b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400, "image_url", id="image"
        ),
        pytest.param(b'{"messages": [{"role": "user", "content": "x"}], "n": 2}', 400, "n", id="n"),
        pytest.param(b'{"messages": [{"role": "user", "content": "x"}], "top_p": 2}', 400, "top_p", id="top_p"),
        pytest.param(b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', 400, "max_tokens", id="max"),
        pytest.param(b'{"messages": [{"role": "user", "content": "x"}], "seed": "a"}', 400, "seed", id="seed"),
        pytest.param(b'{"messages": [{"role": "user", "content": "' + b"x" * 6000 + b'"}]}', 400, "5000", id="long"),
        pytest.param(b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "", id="surrogate"),
        pytest.param(b'{"x": "' + b"x" * 20_001 + b'"}', 413, "PARLEY_MAX_MESSAGE", id="large"),
    ],
)
async def test_a_bad_request_names_what_is_wrong(
    client: httpx.AsyncClient, body: bytes, status: int, word: str
) -> None:
    answer = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    error = error_of(answer)
    assert (answer.status_code, error["type"], error["retryable"]) == (status, "invalid_request_error", False)
    assert word in error["message"]
    assert "Retry-After" not in answer.headers


async def test_an_unknown_model_is_named_with_those_there_are(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json={"messages": [ASKED], "model": "gpt-nowhere"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (404, "not_found")
    assert "gpt-nowhere" in error["message"]
    assert "parley" in error["message"]


async def test_models(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert listed["data"][0] == {"id": "parley", "object": "model", "created": 0, "owned_by": "parley"}
    assert (await client.head("/v1/models")).status_code == 200


async def test_the_same_key_is_the_same_turn(house: House, client: httpx.AsyncClient) -> None:
    first, second = asking(client, "k1"), asking(client, "k1", stream=True)
    job = await answered(house)
    plain, stream = await first, await second
    again = await asking(client, "k1")
    assert plain.json()["choices"][0]["message"]["content"] == "because [1]"
    assert plain.json()["id"] == again.json()["id"] == events(stream.text)[0]["id"] == f"chatcmpl-{job.key.turn}"
    assert plain.json()["choices"] == again.json()["choices"]
    assert len(house.worker.jobs.all) == 1

    other = await asking(client, "k1", messages=[{"role": "user", "content": "something else?"}])
    assert (other.status_code, error_of(other)["code"]) == (409, "conflict")

    request = asking(client, "k2")
    assert (await answered(house)).key.session != job.key.session
    assert (await request).status_code == 200


async def test_a_dropped_request_cancels_unless_it_has_a_key(house: House, client: httpx.AsyncClient) -> None:
    kept = asking(client, "k1")
    job: Retrieve = await house.worker.jobs.get()
    kept.cancel()
    await asyncio.gather(kept, return_exceptions=True)

    for stream in (False, True):
        dropped = asking(client, stream=stream)
        other: Retrieve = await house.worker.jobs.get()
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        record: Record = await house.worker.records.get()
        assert (record.key, record.status) == (other.key, TurnStatus.CANCELLED)

    await house.worker.answer(job, "because")
    again = await asking(client, "k1")
    assert again.json()["choices"][0]["message"]["content"] == "because"
    assert TurnStatus.CANCELLED not in [record.status for record in house.worker.records.all if record.key == job.key]


async def test_a_gateway_that_goes_away_says_so(gateway: Gateway, client: httpx.AsyncClient) -> None:
    gateway.hub.draining = True
    answer = await client.post(PATH, json={"messages": [ASKED]})
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["retryable"]) == (503, "overloaded", True)
    assert answer.headers["Retry-After"] == "1"
    gateway.hub.draining = False


@pytest.mark.parametrize("stream", [False, True])
async def test_drain_lets_a_request_be_answered(
    house: House, gateway: Gateway, client: httpx.AsyncClient, stream: bool
) -> None:
    asked = asyncio.create_task(client.post(PATH, json={"messages": [ASKED], "stream": stream}))
    job = await house.worker.jobs.get()
    drain = asyncio.create_task(gateway.drain(20))
    await house.worker.answer(job, "in time")
    answer = await asked
    await drain
    assert answer.status_code == 200
    assert "in time" in answer.text
    assert answer.text.endswith("data: [DONE]\n\n") is stream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("key", ["", "k1"])
async def test_a_request_that_drain_cannot_wait_for_is_told_to_ask_again(
    house: House, gateway: Gateway, client: httpx.AsyncClient, stream: bool, key: str
) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    asked = asyncio.create_task(client.post(PATH, json={"messages": [ASKED], "stream": stream}, headers=headers))
    job = await house.worker.jobs.get()
    await house.worker.emit(job, Delta(0, 0, "half"))
    await gateway.drain(0.5)
    answer = await asked
    if stream:
        assert answer.status_code == 200
        *_, last = [line for line in answer.text.splitlines() if line]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "overloaded"
    else:
        assert (answer.status_code, error_of(answer)["code"]) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "1"
    if key:
        assert house.worker.records.all == []
    else:
        assert (await house.worker.records.get()).status is TurnStatus.CANCELLED


async def test_a_turn_cancelled_on_the_way_out_is_recorded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request has been answered, and the broker is slower than the server's end."""
    async with contextlib.AsyncExitStack() as stack:
        gateway = await dataclasses.replace(house, stack=stack).gateway()
        link = gateway.hub.publisher
        publish = link.publish

        async def slow(exchange: str, key: str, message: Message, **options: Any) -> None:
            if key == Stage.RECORD:
                await asyncio.sleep(0.7)
            await publish(exchange, key, message, **options)

        monkeypatch.setattr(link, "publish", slow)
        async with http(gateway) as client:
            asked = asking(client)
            await house.worker.jobs.get()
            await gateway.drain(0.0)
            await stack.aclose()
            await asyncio.wait({asked})
    assert (await house.worker.records.get()).status is TurnStatus.CANCELLED


async def test_get_is_not_served(client: httpx.AsyncClient) -> None:
    answer = await client.get(PATH)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
