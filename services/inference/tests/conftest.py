"""Makes ``conformance`` and ``llm_server`` importable under importlib mode; fixtures of several modules."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from parley_inference.engines import openai

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "BACKOFF_S", 0.001)


@pytest.fixture
def no_key_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    with structlog.testing.capture_logs() as events:
        yield
    from llm_server import KEY

    assert KEY not in caplog.text
    assert KEY not in str(events)
    assert "hello?" not in str(events)
