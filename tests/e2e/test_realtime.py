"""The official ``openai`` client against ``/v1/realtime``, unchanged, with real processes behind it."""

import asyncio
import json
import os
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai import AsyncOpenAI

from parley_testkit.certificate import make_certificate
from parley_testkit.stack import Stack

from .harness import WHOLE, stored
from .test_faults import at_work

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


async def test_a_killed_worker_costs_nothing(slow: AsyncOpenAI, scripted: Stack) -> None:
    """The scripted engine repeats itself, so its successor goes on where it was: one answer, one end."""
    async with slow.realtime.connect(model="parley") as connection:
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "killed"}]}
        )
        await connection.response.create(response={"output_modalities": ["text"]})
        said, kinds = "", []
        victim = None
        async with asyncio.timeout(60):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.output_text.delta":
                    said += event.delta
                    if victim is None and len(said) > 30:
                        victim = await asyncio.to_thread(at_work, scripted)
                        await asyncio.to_thread(victim.end, signal.SIGKILL)
                elif event.type == "response.done":
                    break
    assert victim is not None
    victim.start()
    await asyncio.to_thread(victim.wait_ready)
    assert (event.response.status, said) == ("completed", WHOLE)
    assert kinds.count("response.output_item.added") == 1
    assert [row["text"] for row in stored(scripted, "killed", by="question")] == [WHOLE]


ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".parley" / "tools" / "openai" / "node_modules"


@asynccontextmanager
async def encrypted(target: str, folder: Path) -> AsyncIterator[tuple[int, Path]]:
    """A port that speaks TLS and passes everything on: the JavaScript client knows no other sockets."""
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    to = urlsplit(target)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], certificate


async def test_the_javascript_client_works_unchanged(stack: Stack, tmp_path: Path) -> None:
    assert MODULES.exists(), "openai for JavaScript is missing: ./task test brings it"
    async with encrypted(stack.url, tmp_path) as (port, certificate):
        script = Path(__file__).with_name("realtime_client.cjs")
        node = await asyncio.create_subprocess_exec(
            "node",
            str(script),
            f"https://localhost:{port}/v1?kb=handbook",
            "When does the heating start?",
            env={"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES), "NODE_EXTRA_CA_CERTS": str(certificate)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            printed, complaints = await node.communicate()
    assert node.returncode == 0, complaints.decode()
    found = json.loads(printed)
    assert "eleven degrees" in found["said"]
    assert found["response"]["status"] == "completed"
    assert found["response"]["output"][0]["content"][0]["text"] == found["said"]
    assert found["kinds"][0] == "session.created"
    assert found["kinds"][-1] == "response.done"
