"""One installation that every compatibility test talks to as the documented clients do."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from parley_client.api import Api
from parley_client.up import sample, sample_review
from parley_testkit.rabbit import RabbitNode
from parley_testkit.stack import Lab, Stack

from .flows import ROOT
from .transcript import Player


@pytest.fixture(scope="session")
def lab(rabbit: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Makes stacks on the private broker."""
    return Lab(rabbit, tmp_path_factory.mktemp("compat"))


@pytest.fixture(scope="session")
def stack(lab: Lab) -> Iterator[Stack]:
    """Two gateways, one of each worker, with the samples that `./task up` loads, and readings of the tests' own. What
    is heard are tones, which stand for words.
    """
    roles = {"rag": 1, "inference": 1, "asr": 1, "gateway": 2}
    with lab.stack("compat", roles=roles, PARLEY_ASR_ENGINE="scripted", PARLEY_ASR_VAD="energy") as running:
        asyncio.run(_load(running))
        yield running


async def _load(stack: Stack) -> None:
    now = datetime.now(UTC)
    readings = [
        {"metric": "temp", "sensor": "compat-1", "timestamp": at.isoformat(), "value": value, "unit": "℃"}
        for at, value in ((now, "23.50"), (now - timedelta(days=1), "21.00"))
    ]
    async with Api(stack.url) as api:
        await sample.load(api, ROOT, stack.folder)
        await sample.load_readings(api, now.timestamp() - 3600)
        await api.readings.put(_csv(readings), "text/csv")
        await sample_review.load(api, ROOT)


def _csv(rows: list[dict[str, str]]) -> bytes:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]).encode()


@pytest.fixture
def player(stack: Stack) -> Player:
    """Plays transcripts; `near` and `far` are the two gateways."""
    return Player([gateway.url.replace("http", "ws") for gateway in stack.of("gateway")])
