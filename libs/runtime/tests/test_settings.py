"""The settings that every process shares."""

import pytest

from parley_runtime.config import describe, read
from parley_runtime.errors import ConfigError
from parley_runtime.settings import CommonSettings, LogFormat, LogLevel

pytestmark = pytest.mark.unit


def test_defaults_need_nothing_but_a_local_broker() -> None:
    common = read(CommonSettings, {})
    assert common.amqp_url == "amqp://guest:guest@127.0.0.1:5672/"
    assert common.store_url == "sqlite+aiosqlite:///.parley/parley.db"
    assert (common.health_host, common.health_port) == ("127.0.0.1", 0)
    assert (common.drain_s, common.heartbeat_s, common.admission) == (25.0, 5.0, 10_000)
    assert (common.log_level, common.log_format) == (LogLevel.INFO, LogFormat.JSON)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PARLEY_PROCESS_ID", "has space"),
        ("PARLEY_PROCESS_ID", "x" * 65),
        ("PARLEY_PROCESS_ID", "a*b"),
        ("PARLEY_HEALTH_PORT", "65536"),
        ("PARLEY_DRAIN_S", "-1"),
        ("PARLEY_HEARTBEAT_S", "0"),
        ("PARLEY_LOG_LEVEL", "loud"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ],
)
def test_bad_values_are_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read(CommonSettings, {key: value})


def test_urls_with_passwords_are_secrets() -> None:
    secrets = {meta.env for meta, _, _ in describe(CommonSettings) if meta.secret}
    assert secrets == {"AMQP_URL", "PARLEY_STORE"}
