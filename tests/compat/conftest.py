"""One installation that every compatibility test talks to as the documented clients do."""

from collections.abc import Iterator

import pytest

from parley_testkit.rabbit import RabbitNode
from parley_testkit.stack import Lab, Stack


@pytest.fixture(scope="session")
def lab(rabbit: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Makes stacks on the private broker."""
    return Lab(rabbit, tmp_path_factory.mktemp("compat"))


@pytest.fixture(scope="session")
def stack(lab: Lab) -> Iterator[Stack]:
    """Two gateways, one of each worker."""
    with lab.stack("compat", roles={"rag": 1, "inference": 1, "gateway": 2}) as running:
        yield running
