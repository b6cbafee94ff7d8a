"""Measured data: single readings, what an answer was made from, and the commands that bring readings in.

A value travels as the decimal text that it was given in, so no digit is gained or lost on the way. Times are RFC 3339
in UTC, with ``+00:00``.
"""

import msgspec

MAX_USED = 200
"""Readings of one metric that travel with an answer: the newest ones."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement of one sensor. ``value`` is a JSON number's text."""

    timestamp: str
    value: str
    unit: str
    sensor: str


class MetricData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="sensor_data"):
    """The readings of one metric that an answer was made from, newest first, :data:`MAX_USED` at most."""

    metric: str
    readings: tuple[Reading, ...]
    truncated: bool = False
    """The answer was made from more readings than these."""


class PutReadings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="readings.put", tag_field="kind"):
    """Store the readings of one object, a list of objects (JSON) or CSV. A reading whose metric, sensor and time are
    held already is replaced.
    """

    call: str
    reply_to: str
    tenant: str
    data: bytes
    media_type: str = ""
    """Empty, or neither JSON nor CSV: decided from the bytes."""
    all_or_nothing: bool = False
    """Store none where any cannot be stored."""


class DropReadings(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="readings.drop", tag_field="kind"
):
    """Remove all readings of one metric of one sensor, or of every sensor where ``sensor`` is empty."""

    call: str
    reply_to: str
    tenant: str
    metric: str
    sensor: str = ""


class RefusedReading(msgspec.Struct, frozen=True):
    """What was not stored: its line in CSV (the header is line 1), its place in a JSON list (from 1), and why."""

    line: int
    reason: str


class SeriesInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one sensor, as held. ``unit`` and ``newest`` are those of its newest reading."""

    metric: str
    sensor: str
    unit: str
    newest: str
