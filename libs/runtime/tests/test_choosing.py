"""Which engine is used, and why."""

import pytest

from parley_runtime.choosing import Found, first_usable
from parley_runtime.errors import ConfigError

pytestmark = pytest.mark.unit


async def opened(name: str) -> str:
    if name.startswith("no-"):
        raise ConfigError(f"{name} is not there")
    return name.upper()


def because(engine: str) -> str:
    return f"{engine} answers"


async def test_the_first_that_can_be_used_is_taken_and_those_before_are_told_of():
    found = await first_usable(["no-gpu", "no-key", "plain", "last"], opened, because=because)
    why = "PLAIN answers; not no-gpu: no-gpu is not there; not no-key: no-key is not there"
    assert found == Found("plain", "PLAIN", why)


async def test_where_none_can_be_used_it_is_said_why():
    assert await first_usable(["no-gpu", "no-key"], opened, because=because) == (
        "no-gpu: no-gpu is not there; no-key: no-key is not there"
    )


async def test_one_that_a_setting_names_is_taken_or_its_error_raised():
    assert await first_usable(["plain"], opened, because=because, setting="PARLEY_X") == Found(
        "plain", "PLAIN", "PARLEY_X names it"
    )
    with pytest.raises(ConfigError, match="no-gpu is not there"):
        await first_usable(["no-gpu"], opened, because=because, setting="PARLEY_X")
