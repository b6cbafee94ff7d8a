"""The error tree: codes, what may be tried again, what a client sees."""

from collections.abc import Iterator

import pytest

from parley_protocol.faults import RETRYABLE
from parley_runtime import errors
from parley_runtime.errors import EngineError, Fatal, Overloaded, ParleyError, Retryable, UnknownBase

pytestmark = pytest.mark.unit


def _tree(kind: type[ParleyError] = ParleyError) -> Iterator[type[ParleyError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


def test_every_error_is_either_retryable_or_fatal() -> None:
    for kind in _tree():
        assert issubclass(kind, Retryable) != issubclass(kind, Fatal), kind
        assert kind.retryable is issubclass(kind, Retryable), kind


def test_every_error_of_the_module_stands_in_its_picture() -> None:
    assert errors.__doc__ is not None
    for kind in _tree():
        if kind.__module__ == errors.__name__ and kind is not UnknownBase:  # services have branches of their own
            assert kind.__name__ in errors.__doc__, kind


def test_codes_of_retryable_errors_may_be_tried_again() -> None:
    assert {kind.code for kind in _tree(Retryable)} <= RETRYABLE


def test_what_a_client_sees() -> None:
    fault = EngineError("the engine failed", retry_after_s=3.0).fault()
    assert (fault.code, fault.message, fault.retryable) == ("engine_failed", "the engine failed", True)
    assert Overloaded("full", retry_after_s=1.5).retry_after_s == 1.5
    assert UnknownBase("no such base").fault().retryable is False
