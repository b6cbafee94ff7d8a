"""Which engine answers the realtime ASR dialect."""

import pytest

from parley_runtime.answering import AsrEngineChoice, EngineChoice, asr_engine
from parley_runtime.config import read

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("environ", "engine", "why"),
    [
        ({}, "", "neither"),
        ({"USE_MOCK_RAG": "1"}, "", "USE_MOCK_RAG=1"),
        ({"USE_MOCK_RAG": "1", "DIFY_API_KEY": "k"}, "", "USE_MOCK_RAG=1"),
        ({"USE_MOCK_RAG": "0"}, "dify", "USE_MOCK_RAG=0"),
        ({"USE_MOCK_RAG": "false", "DIFY_API_KEY": "k"}, "dify", "USE_MOCK_RAG=0"),
        ({"DIFY_API_KEY": "k"}, "dify", "DIFY_API_KEY is set"),
        ({"RAG_ENGINE": "dify"}, "dify", "RAG_ENGINE=dify"),
        ({"RAG_ENGINE": "dify", "USE_MOCK_RAG": "1"}, "dify", "USE_MOCK_RAG=1 does not count"),
    ],
)
def test_choice(environ: dict[str, str], engine: str, why: str) -> None:
    chosen, said = asr_engine(read(EngineChoice, environ), read(AsrEngineChoice, environ))
    assert chosen == engine
    assert why in said
