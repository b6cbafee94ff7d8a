"""Frames of a publish, read back by the library that every other frame is made and read by."""

from typing import Any

import pamqp.frame
import pytest

from parley_runtime.amqp import framing
from parley_runtime.ports import Message

pytestmark = pytest.mark.unit

HEADERS: dict[str, str | int] = {"parley-kind": "batch", "parley-v": 1, "größe": "多", "large": -(2**63), "empty": ""}


def _frames(message: Message, *, key: str = "gateway-1", mandatory: bool = True, max_body: int = 100) -> list[Any]:
    data = framing.publish(7, "parley.events", key, message, "42", mandatory=mandatory, max_body=max_body)
    found = []
    while data:
        size, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        found.append(frame)
        data = data[size:]
    return found


@pytest.mark.parametrize("mandatory", [True, False])
def test_where_a_message_goes_is_read_back(mandatory: bool) -> None:
    method = _frames(Message(b"body"), key="键", mandatory=mandatory)[0]
    assert method.name == "Basic.Publish"
    assert (method.exchange, method.routing_key) == ("parley.events", "键")
    assert (method.mandatory, method.immediate) == (mandatory, False)


def test_what_a_message_says_of_itself_is_read_back() -> None:
    header = _frames(Message(b"body", HEADERS, expires_s=1.5, durable=True))[1]
    properties = header.properties
    assert header.body_size == 4
    assert properties.headers == HEADERS
    assert (properties.delivery_mode, properties.expiration, properties.message_id) == (2, "1500", "42")


def test_what_is_not_said_is_not_there() -> None:
    properties = _frames(Message(b"body", durable=False))[1].properties
    assert (properties.delivery_mode, properties.message_id) == (1, "42")
    assert (properties.headers, properties.expiration) == (None, None)


def test_a_time_that_has_passed_is_none() -> None:
    assert _frames(Message(b"", expires_s=-1.0))[1].properties.expiration == "0"


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
def test_a_body_is_cut_into_parts_of_at_most_the_bound(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    _, header, *parts = _frames(Message(body))
    assert header.body_size == size
    assert b"".join(part.value for part in parts) == body
    assert all(0 < len(part.value) <= 100 for part in parts)
    assert len(parts) == -(-size // 100)


def test_names_that_are_too_long_and_numbers_that_are_too_large_are_refused() -> None:
    assert _frames(Message(b""), key="k" * 255)[0].routing_key == "k" * 255
    for key, headers in (("k" * 256, {}), ("键" * 86, {}), ("k", {"n": 2**63}), ("k", {"n" * 256: 1})):
        with pytest.raises(ValueError, match="at most"):
            _frames(Message(b"", headers), key=key)  # type: ignore[arg-type]  # headers of either type
