"""The OpenAI-compatible engine around single answers: its breaker, continuing a prefix, connecting, settings."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from llm_server import (
    FAST,
    Exchange,
    LlmServer,
    good,
    pieces_of,
    refusing,
    serving,
    text_of,
)

from parley_inference.engines.openai import OpenAISettings, connect
from parley_runtime.errors import ConfigError, EngineError, Unavailable

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_waits", "no_key_in_logs")]


async def test_the_breaker_opens_says_so_and_closes_again() -> None:
    down = True

    async def moody(exchange: Exchange) -> None:
        await (exchange.refuse(503) if down else good(exchange))

    async with serving(moody, settings=replace(FAST, breaker=3)) as (server, engine):
        for _ in range(3):
            assert engine.problem() is None
            with pytest.raises(EngineError):
                await text_of(engine)
        problem = engine.problem()
        assert problem is not None
        assert "failed 3 times in a row" in problem
        # While it is open, requests wait in their seats instead of asking.
        waiting = [asyncio.create_task(text_of(engine)) for _ in range(5)]
        await asyncio.sleep(0)
        assert len(server.asked) == 3
        down = False
        assert await asyncio.gather(*waiting) == ["Hello there"] * 5
        assert engine.problem() is None


async def test_a_cancelled_trial_lets_the_next_one_try() -> None:
    asked = asyncio.Event()

    async def hangs(exchange: Exchange) -> None:
        asked.set()
        await exchange.hang_up_seen()

    async with serving(refusing(503), hangs, good, settings=replace(FAST, breaker=1)) as (_, engine):
        with pytest.raises(EngineError):
            await text_of(engine)
        trial = asyncio.create_task(text_of(engine))
        await asyncio.wait_for(asked.wait(), 30)
        trial.cancel()
        assert await text_of(engine) == "Hello there"


async def test_a_prefix_is_continued_where_the_server_can() -> None:
    async with serving(good, settings=replace(FAST, continues=True)) as (server, engine):
        await pieces_of(engine, prefix="So far")
    body = server.asked[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "So far"}
    assert body["continue_final_message"] is True
    assert body["add_generation_prompt"] is False


async def test_a_prefix_is_left_out_where_it_cannot() -> None:
    async with serving(good) as (server, engine):
        await pieces_of(engine, prefix="So far")
    assert server.asked[0].body["messages"][-1]["role"] == "user"


async def test_connecting_needs_an_address() -> None:
    with pytest.raises(ConfigError, match="PARLEY_OPENAI_BASE_URL"):
        await connect(OpenAISettings())


async def test_connecting_to_nobody() -> None:
    with pytest.raises(Unavailable, match="PARLEY_OPENAI_BASE_URL") as caught:
        await connect(OpenAISettings(base_url="http://user:hidden@127.0.0.1:9/v1"))
    assert "hidden" not in str(caught.value)


async def test_connecting_to_a_server_that_does_not_answer() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    begun = time.perf_counter()
    with pytest.raises(Unavailable, match=r"within 0\.1 s"):
        await connect(OpenAISettings(base_url=f"http://127.0.0.1:{port}", probe_s=0.1))
    assert time.perf_counter() - begun < 1.0
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("status", "models", "model", "said"),
    [
        (401, ["m"], "m", "PARLEY_OPENAI_API_KEY"),
        (200, [], "", "PARLEY_OPENAI_MODEL"),
        (404, ["m"], "", "PARLEY_OPENAI_MODEL"),
    ],
)
async def test_connecting_without_key_or_model(status: int, models: list[str], model: str, said: str) -> None:
    async with LlmServer(good, models=models) as server:
        server.models_status = status
        with pytest.raises(ConfigError, match=said):
            await connect(replace(FAST, base_url=server.url, model=model))


@pytest.mark.parametrize(
    ("status", "named", "expected"), [(200, "", "tiny"), (200, "mine", "mine"), (404, "mine", "mine")]
)
async def test_which_model(status: int, named: str, expected: str) -> None:
    async with LlmServer(good) as server:
        server.models_status = status
        engine = await connect(replace(FAST, base_url=server.url + "/", model=named))
        assert engine.model == expected
        assert await text_of(engine) == "Hello there"
        assert server.asked[0].body["model"] == expected
        await engine.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: OpenAISettings(base_url="ftp://x"),
        lambda: OpenAISettings(api_key="schlüssel"),
        lambda: OpenAISettings(api_key="a\nb"),
    ],
)
def test_bad_settings(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="PARLEY_OPENAI_"):
        make()
