"""The documented flows of each dialect, frame by frame, with an ordinary client library through the broker."""

import uuid

import pytest

from .flows import FLOWS, UPLOAD
from .transcript import Matcher, Player, read

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("flow", FLOWS)
async def test_flow(player: Player, flow: str) -> None:
    await player.play(flow, session=f"user-{uuid.uuid4().hex[:8]}", upload=UPLOAD)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ('{"a": 1}', '{"b": 1}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1.50}', '{"a": 1.5}'),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": "<absent>"}', '{"a": null}'),
        ('{"a": "<text>"}', '{"a": " "}'),
        ('{"a": "<time>"}', '{"a": "2026-01-01T00:00:00"}'),
        ('{"a": "<epoch>"}', '{"a": 1}'),
        ('{"a": "<uuid>"}', '{"a": "1"}'),
        ('{"a": "<count>"}', '{"a": 1}'),
        ('{"a": "<with>(x)"}', '{"a": "y"}'),
        ('{"a": "<one of>(x|y)"}', '{"a": "z"}'),
        ('{"a": [1, "<more>"]}', '{"a": []}'),
        ('{"a": []}', '{"a": [1]}'),
    ],
)
def test_a_matcher_tells_a_difference(wanted: str, got: str) -> None:
    assert Matcher().differs(read(wanted), read(got)) != ""
