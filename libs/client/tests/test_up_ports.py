"""Ports: free ones are found, taken ones are named with the setting to change."""

import socket
from collections.abc import Iterator

import pytest

from parley_client.up import ports
from parley_client.up.errors import ConfigurationError

pytestmark = pytest.mark.unit


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_named_with_its_setting(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"Port {taken} on 127.0.0.1 is in use.*PARLEY_PORT"):
        ports.require("127.0.0.1", taken, "PARLEY_PORT")


def test_a_free_port_passes(taken: int) -> None:
    ports.require("127.0.0.1", ports.free_port([taken]), "PARLEY_PORT")


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 65535"):
        ports.require("127.0.0.1", port, "PARLEY_PORT")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 is not an address of this machine.*PARLEY_HOST"):
        ports.require("192.0.2.1", 8000, "PARLEY_PORT")


def test_a_remembered_port_is_kept_while_it_is_free_and_replaced_when_not(taken: int) -> None:
    free = ports.free_port([taken])
    assert ports.remembered_or_free(free) == free
    assert ports.remembered_or_free(taken) != taken
    assert ports.remembered_or_free(free, [free]) != free
    assert ports.is_free(ports.remembered_or_free("not a port"))
