"""The official ``openai`` client against ``/v1/realtime``, unchanged, with real processes behind it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from parley_testkit.stack import Stack

from .harness import stored

pytestmark = pytest.mark.e2e

TOOL = {"type": "function", "name": "look_up", "description": "Looks up.", "parameters": {"type": "object"}}


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=stack.url + "/v1", api_key="none") as made:
        yield made


@pytest.fixture
async def slow(scripted: Stack) -> AsyncIterator[AsyncOpenAI]:
    """Answers take about a second."""
    async with AsyncOpenAI(base_url=scripted.url + "/v1", api_key="none") as made:
        yield made


async def ask(connection: Any, text: str, **response: Any) -> tuple[str, Any]:
    """The text as it came, and the response."""
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    await connection.response.create(response={"output_modalities": ["text"], **response})
    return await answered(connection)


async def answered(connection: Any) -> tuple[str, Any]:
    said = ""
    async with asyncio.timeout(30):
        async for event in connection:
            assert event.type != "error", event
            if event.type == "response.output_text.delta":
                said += event.delta
            elif event.type == "response.done":
                return said, event.response
    raise AssertionError("the socket closed before the response was done")


async def test_a_conversation_is_answered_from_documents_and_cited(client: AsyncOpenAI, stack: Stack) -> None:
    async with client.realtime.connect(model="gpt-realtime", extra_query={"kb": "handbook"}) as connection:
        said, response = await ask(connection, "When does the heating start?")
        assert response.status == "completed"
        assert "eleven degrees" in said
        assert response.output[0].content[0].text == said
        assert response.metadata["source_1"].startswith("greenhouse.md")
        assert [row["text"] for row in stored(stack, "When does the heating start?", by="question")][-1] == said
        said, _ = await ask(connection, "And when are the tomatoes watered?")
        assert "six in the morning" in said


async def test_a_cancel_ends_the_response_with_what_was_said(slow: AsyncOpenAI) -> None:
    async with slow.realtime.connect(model="parley") as connection:
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "tokens=400 cancel"}]}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        said = ""
        async with asyncio.timeout(30):
            async for event in connection:
                if event.type == "response.output_text.delta":
                    if not said:
                        await connection.response.cancel()
                    said += event.delta
                elif event.type == "response.done":
                    break
        assert (event.response.status, event.response.status_details.reason) == ("cancelled", "client_cancelled")
        assert event.response.output[0].content[0].text == said
        assert len(said.split()) < 400


async def test_a_function_is_called_and_what_came_of_it_is_used(slow: AsyncOpenAI) -> None:
    async with slow.realtime.connect(model="parley") as connection:
        await connection.session.update(session={"type": "realtime", "tools": [TOOL]})
        _, response = await ask(connection, 'call=look_up args={"city":"Oslo"} tokens=2')
        (call,) = response.output
        assert (call.type, call.name, call.arguments) == ("function_call", "look_up", '{"city":"Oslo"}')
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "cold"}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        said, _ = await answered(connection)
        assert said == "cold t1 t2"


async def test_the_embedded_engine_says_that_it_calls_nothing(client: AsyncOpenAI) -> None:
    async with client.realtime.connect(model="parley", extra_query={"kb": "handbook"}) as connection:
        await connection.session.update(session={"type": "realtime", "tools": [TOOL]})
        said, response = await ask(connection, "When does the heating start?")
        assert "eleven degrees" in said
        _, response = await ask(connection, "When does the heating start?", tool_choice="required")
        assert response.status == "failed"
        assert "calls no functions" in response.status_details.error.message
        assert "PARLEY_OPENAI_BASE_URL" in response.status_details.error.message
