"""Which engine answers, why, and with how many seats."""

import pytest
import structlog
from llm_server import LlmServer, good

from parley_inference.choose import Chosen, choose
from parley_inference.config import InferenceSettings
from parley_inference.registry import ENGINES
from parley_runtime.config import read
from parley_runtime.errors import ConfigError, EngineRejected, Unavailable

pytestmark = pytest.mark.unit


async def _choose(environ: dict[str, str]) -> tuple[Chosen, list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as events:
        chosen = await choose(read(InferenceSettings, environ))
    await chosen.close()
    return chosen, [event for event in events if event["event"] == "engine chosen"]


async def test_auto_without_anything_is_extractive() -> None:
    chosen, events = await _choose({})
    assert chosen.engine.name == "extractive"
    assert chosen.seats == ENGINES["extractive"].seats == 32
    assert chosen.info.stage == "generate"
    assert "PARLEY_OPENAI_BASE_URL is not set" in chosen.info.why
    (event,) = events
    assert (event["engine"], event["why"]) == ("extractive", chosen.info.why)


async def test_auto_takes_a_server_that_answers() -> None:
    async with LlmServer(good) as server:
        chosen, events = await _choose({"PARLEY_OPENAI_BASE_URL": server.url, "PARLEY_SEATS": "3"})
    assert (chosen.info.name, chosen.info.model, chosen.seats) == ("openai", "tiny", 3)
    assert chosen.info.why == f"{server.url} answers"
    assert len(events) == 1


async def test_auto_passes_over_a_server_that_does_not_answer() -> None:
    chosen, _ = await _choose({"PARLEY_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert chosen.info.name == "extractive"
    assert "does not answer" in chosen.info.why


async def test_auto_never_takes_the_script() -> None:
    chosen, _ = await _choose({"PARLEY_SCRIPT_TOKENS": "5"})
    assert chosen.info.name != "scripted"


@pytest.mark.parametrize("name", ["extractive", "scripted"])
async def test_an_engine_by_name(name: str) -> None:
    chosen, _ = await _choose({"PARLEY_ENGINE": name})
    assert chosen.info.name == name
    assert chosen.info.why == "PARLEY_ENGINE names it"


async def test_a_named_engine_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(ConfigError, match="PARLEY_OPENAI_BASE_URL"):
        await _choose({"PARLEY_ENGINE": "openai"})
    with pytest.raises(Unavailable):
        await _choose({"PARLEY_ENGINE": "openai", "PARLEY_OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})


def test_an_unknown_engine_is_a_settings_error() -> None:
    with pytest.raises(ConfigError, match=r"PARLEY_ENGINE='gpt'.*extractive"):
        read(InferenceSettings, {"PARLEY_ENGINE": "gpt"})


def test_defaults_of_all_settings_can_be_read() -> None:
    settings = read(InferenceSettings, {})
    assert settings.engines.extractive.pace_ms == 8.0
    assert settings.engines.openai.api_key == ""
    assert settings.worker.hand_over_s < settings.common.drain_s


async def test_dify_is_open_beside_every_engine_and_chosen_by_name_alone() -> None:
    chosen, _ = await _choose({"DIFY_API_KEY": "app-x"})
    assert chosen.engine.name == "extractive"
    assert chosen.of("") is chosen.of("extractive") is chosen.engine
    assert chosen.of("dify").name == "dify"
    with pytest.raises(EngineRejected, match="'openai'"):
        chosen.of("openai")


async def test_rag_engine_is_above_parley_engine() -> None:
    chosen, events = await _choose({"RAG_ENGINE": "dify", "PARLEY_ENGINE": "extractive", "DIFY_API_KEY": "app-x"})
    assert (chosen.info.name, chosen.info.why, chosen.beside) == ("dify", "RAG_ENGINE names it", {})
    assert chosen.of("dify") is chosen.of("") is chosen.engine
    assert "app-x" not in str(events)


async def test_dify_without_a_key_says_so_to_each_question_rather_than_not_start() -> None:
    chosen, _ = await _choose({"RAG_ENGINE": "dify"})
    assert chosen.engine.problem() is None


def test_an_unknown_rag_engine_is_a_settings_error() -> None:
    with pytest.raises(ConfigError, match=r"RAG_ENGINE='x'.*dify"):
        read(InferenceSettings, {"RAG_ENGINE": "x"})
