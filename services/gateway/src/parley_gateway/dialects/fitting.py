"""Frames small enough for clients whose library refuses messages above 1 MiB. Pure."""

from typing import Any

import msgspec

MOST = 880 * 1024
"""Bytes of a frame as JSON, so that it stays below 900 KiB."""
SMALL = 60_000
"""Characters of a text that fits whatever it is made of: JSON writes some of them with six bytes."""


def fitting(frame: dict[str, Any], field: str) -> dict[str, Any]:
    """``frame``, its text in ``field`` cut where it would be too large, which ``truncated: true`` says then."""
    text: str = frame[field]
    while len(text) > SMALL and (size := len(msgspec.json.encode(frame))) > MOST:
        text = text[: min(int(len(text) * MOST / size * 0.98), len(text) - 1)]
        frame = {**frame, field: text, "truncated": True}
    return frame
