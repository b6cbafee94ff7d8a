"""The official ``openai`` client against ``/v1``, unchanged."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from parley_testkit.stack import Stack, soon

from .harness import WHOLE, stored

pytestmark = pytest.mark.e2e

QUESTION = {"role": "user", "content": "When does the heating start?"}


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=stack.url + "/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def slow(scripted: Stack) -> AsyncIterator[AsyncOpenAI]:
    """Answers take about a second."""
    async with AsyncOpenAI(base_url=scripted.url + "/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


async def test_plain(client: AsyncOpenAI, stack: Stack) -> None:
    answer = await client.chat.completions.create(
        model="parley", messages=[{"role": "system", "content": "Be brief."}, QUESTION], extra_body={"kb": "handbook"}
    )
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.model == "parley"
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert "eleven degrees" in (choice.message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model_extra is not None
    assert answer.model_extra["sources"][0]["document"] == "greenhouse.md"
    (row,) = stored(stack, answer.id.removeprefix("chatcmpl-"))
    assert row["text"] == choice.message.content


async def test_streaming_with_usage(client: AsyncOpenAI, stack: Stack) -> None:
    stream = await client.chat.completions.create(
        model="parley",
        messages=[QUESTION],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"kb": "handbook"},
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    text = "".join(delta.content or "" for delta in deltas)
    (row,) = stored(stack, chunks[0].id.removeprefix("chatcmpl-"))
    assert row["text"] == text
    assert "eleven degrees" in text


async def test_the_conversation_that_is_sent_is_used(client: AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="parley",
        messages=[
            {"role": "user", "content": "When are the tomatoes watered?"},
            {"role": "assistant", "content": "The tomatoes are watered at six in the morning."},
            {"role": "user", "content": "And the basil?"},
        ],
        extra_body={"kb": "handbook"},
    )
    assert "every third day" in (answer.choices[0].message.content or "")


async def test_models(client: AsyncOpenAI) -> None:
    listed = await client.models.list()
    ids = [model.id async for model in listed]
    assert ids[0] == "parley"
    assert "extractive" in ids


async def test_unknown_model(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-nowhere", messages=[QUESTION])
    assert "gpt-nowhere" in caught.value.message
    assert "parley" in caught.value.message


async def test_unknown_base(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="parley", messages=[QUESTION], extra_body={"kb": "cellar"})
    assert caught.value.code == "unknown_kb"
    assert "handbook" in caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"messages": []}, id="no messages"),
        pytest.param({"messages": [{"role": "user", "content": " "}]}, id="empty question"),
        pytest.param({"messages": [{"role": "wizard", "content": "x"}]}, id="unknown role"),
        pytest.param({"messages": [QUESTION, {"role": "assistant", "content": "x"}]}, id="nothing asked"),
        pytest.param({"temperature": 9}, id="temperature"),
        pytest.param({"n": 3}, id="three choices"),
    ],
)
async def test_bad_requests(client: AsyncOpenAI, changes: dict[str, object]) -> None:
    body = {"model": "parley", "messages": [QUESTION], **changes}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**body)  # type: ignore[call-overload]  # wrong on purpose
    assert caught.value.type == "invalid_request_error"
    assert caught.value.message


@pytest.mark.parametrize("stream", [False, True])
async def test_a_retry_with_its_idempotency_key_is_the_same_turn(
    slow: AsyncOpenAI, scripted: Stack, stream: bool
) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    with pytest.raises(openai.APITimeoutError):
        await slow.chat.completions.create(model="parley", messages=[QUESTION], extra_headers=key, timeout=0.5)
    if stream:
        chunks = [
            chunk
            async for chunk in await slow.chat.completions.create(
                model="parley", messages=[QUESTION], extra_headers=key, stream=True
            )
        ]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        turn = chunks[0].id
    else:
        answer = await slow.chat.completions.create(model="parley", messages=[QUESTION], extra_headers=key)
        text, turn = answer.choices[0].message.content or "", answer.id
    assert text == WHOLE
    again = await slow.chat.completions.create(model="parley", messages=[QUESTION], extra_headers=key)
    assert (again.id, again.choices[0].message.content) == (turn, WHOLE)
    assert [row["text"] for row in stored(scripted, turn.removeprefix("chatcmpl-"))] == [WHOLE]
    with pytest.raises(openai.ConflictError):
        await slow.chat.completions.create(
            model="parley", messages=[{"role": "user", "content": "other?"}], extra_headers=key
        )


async def test_a_retry_at_another_gateway_is_the_same_turn(slow: AsyncOpenAI, scripted: Stack) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = await slow.chat.completions.create(model="parley", messages=[QUESTION], extra_headers=key)
    base = scripted.of("gateway")[1].url + "/v1"
    async with AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=30) as other:
        again = await other.chat.completions.create(model="parley", messages=[QUESTION], extra_headers=key)
    assert (again.id, again.choices[0].message.content) == (first.id, WHOLE)
    assert len(stored(scripted, first.id.removeprefix("chatcmpl-"))) == 1


async def test_dropping_the_stream_cancels(slow: AsyncOpenAI, scripted: Stack) -> None:
    stream = await slow.chat.completions.create(model="parley", messages=[QUESTION], stream=True)
    turn, text = "", ""
    async for chunk in stream:
        turn, text = chunk.id.removeprefix("chatcmpl-"), text + (chunk.choices[0].delta.content or "")
        if len(text) > 10:
            break
    await stream.close()
    await soon(lambda: stored(scripted, turn)[0]["status"] == "cancelled", "cancelled", limit_s=30)
    (row,) = stored(scripted, turn)
    assert row["text"].startswith(text)
    assert len(row["text"]) < len(WHOLE)


async def test_dropping_a_plain_request_cancels(scripted: Stack) -> None:
    question = f"Is {uuid.uuid4().hex} dropped?"
    async with httpx.AsyncClient(base_url=scripted.url, trust_env=False) as http:
        body = {"messages": [{"role": "user", "content": question}]}
        asking = asyncio.create_task(http.post("/v1/chat/completions", json=body, timeout=60))
        await soon(lambda: stored(scripted, question, by="question"), "under way")
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
    await soon(
        lambda: [row["status"] for row in stored(scripted, question, by="question")] == ["cancelled"],
        "cancelled",
        limit_s=30,
    )
