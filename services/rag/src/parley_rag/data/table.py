"""What is brought in, CSV or JSON: to readings and to refusals by line. Pure."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from parley_protocol.readings import RefusedReading
from parley_rag.data.lexicon import Lexicon
from parley_rag.documents.encoding import decode
from parley_runtime.errors import Invalid
from parley_runtime.store.reading_ports import StoredReading, microseconds

MAX_NAME = 64
MAX_UNIT = 32
MAX_DIGITS = 40
MAX_CELL = 1_000
"""Characters of a cell that is looked at; a longer one is no name, number or time."""
YEARS = (1900, 2200)
COLUMNS = ("metric", "sensor", "timestamp", "value", "unit")
REQUIRED = COLUMNS[:4]

_NAMES = {
    "metric": "指标 参数 监测项",
    "sensor": "传感器 设备",
    "timestamp": "时间 时间戳 time datetime",
    "value": "数值 值 读数",
    "unit": "单位",
}
_HEADS = {word: column for column, words in _NAMES.items() for word in words.split()}
_NUMBER = re.compile(r"[+-]?(\d+)(\.\d*)?([eE][+-]?\d{1,3})?|[+-]?()(\.\d+)([eE][+-]?\d{1,3})?")
_LOOSE = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T\s]*(\d{1,2})[:时点](\d{1,2})(?:[:分](\d{1,2})秒?(?:[.,](\d{1,9}))?)?分?)?"
    r"\s*(Z|z|[+-]\d{2}:?\d{2})?"
)
_EPOCH = re.compile(r"\d{9,10}(?:\.\d{1,6})?|\d{12,13}")


@dataclass(slots=True)
class Table:
    """Readings that can be stored, and what cannot be: ``count`` is how many, ``refused`` the first of them."""

    most: int
    readings: list[StoredReading] = field(default_factory=list)
    refused: list[RefusedReading] = field(default_factory=list)
    count: int = 0

    def refuse(self, line: int, reason: str) -> None:
        """One more that cannot be stored."""
        self.count += 1
        if len(self.refused) < self.most:
            self.refused.append(RefusedReading(line, reason))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How rows are read: ``zone`` places times that name none; ``rows`` at most; ``refusals`` told at most."""

    lexicon: Lexicon
    zone: tzinfo = UTC
    rows: int = 50_000
    refusals: int = 1_000

    def read(self, data: bytes, media_type: str = "") -> Table:
        """Every row of ``data``.

        Raises:
            Invalid: nothing of it can be used: no text, no JSON, no header, too many rows.
        """
        table = Table(self.refusals)
        rows = _json_rows(data) if _is_json(data, media_type) else _csv_rows(data)
        for number, (line, row) in enumerate(rows, 1):
            if number > self.rows:
                raise Invalid(f"more than {self.rows:,} rows; send fewer at a time (PARLEY_READINGS_ROWS)")
            if isinstance(row, str):
                table.refuse(line, row)
                continue
            try:
                table.readings.append(self._reading(row))
            except ValueError as error:
                table.refuse(line, str(error))
        return table

    def _reading(self, row: Mapping[str, Any]) -> StoredReading:
        """Raises ValueError that says what is wrong with the row."""
        value = _value(row.get("value"))
        return StoredReading(
            metric=self.lexicon.name_of(_name(row, "metric")),
            sensor=_name(row, "sensor"),
            at=_time(row.get("timestamp"), self.zone),
            value=value,
            number=float(value),
            unit=_unit(row.get("unit")),
        )


def _is_json(data: bytes, media_type: str) -> bool:
    if "json" in media_type:
        return True
    return "csv" not in media_type and data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


_Row = tuple[int, Mapping[str, Any] | str]


def _json_rows(data: bytes) -> Iterator[_Row]:
    try:
        raw = msgspec.json.decode(decode(data), type=msgspec.Raw)
        listed = bytes(raw).lstrip()[:1] == b"["
        rows = msgspec.json.decode(raw, type=list[msgspec.Raw]) if listed else [raw]
    except Invalid as error:
        raise Invalid(f"the body {error}") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Invalid(f"the body is no JSON: {str(error)[:200]}") from None
    for place, row in enumerate(rows, 1):
        try:
            yield place, msgspec.json.decode(row, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError):
            yield place, f"is no object with {', '.join(REQUIRED)}"


def _csv_rows(data: bytes) -> Iterator[_Row]:
    text = _text(data)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = _columns(next(_safe(lines), (1, []))[1])
    for line, cells in _safe(lines):
        if isinstance(cells, str):
            yield line, cells
        elif any(cell.strip() for cell in cells):
            yield line, _cells(columns, cells)


def _cells(columns: Mapping[int, str], cells: list[str]) -> Mapping[str, Any] | str:
    if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell[:MAX_CELL]):
        return "is not UTF-8"
    return {name: cells[place].strip() for place, name in columns.items() if place < len(cells)}


def _text(data: bytes) -> str:
    """The text of a file; where only some lines are of another encoding, those are refused and the others are read."""
    try:
        return decode(data)
    except Invalid as error:
        text = data.decode("utf-8", "surrogateescape")
        header = text.split("\n", 1)[0]
        if b"\0" in data or (not header.isprintable() and header.strip("\r").isprintable() is False):
            raise Invalid(f"the body {error}") from None
        return text


def _safe(lines: Any) -> Iterator[tuple[int, Any]]:
    """Rows with the line each begins on; what is no CSV is a text that says so."""
    while True:
        line = lines.line_num + 1
        try:
            yield line, next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"is no CSV: {error}"


def _columns(header: Any) -> dict[int, str]:
    if not isinstance(header, list):
        raise Invalid("the first line is no CSV; it must name the columns")
    names = [cell.strip().lower() for cell in header]
    found = {place: _HEADS.get(name, name) for place, name in enumerate(names) if _HEADS.get(name, name) in COLUMNS}
    missing = [name for name in REQUIRED if name not in found.values()]
    if missing:
        raise Invalid(f"the first line must name the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    if len(set(found.values())) < len(found):
        raise Invalid("the first line names a column twice")
    return found


def _plain(raw: Any, name: str) -> str:
    """A cell, or a JSON string or number, as text."""
    if isinstance(raw, msgspec.Raw):
        text = bytes(raw).decode()
        if text[:1] == '"':
            text = msgspec.json.decode(raw, type=str)
        elif text == "null":
            text = ""
        elif text[:1] not in "-0123456789":
            raise ValueError(f"{name} must be a text or a number")
    else:
        text = raw or ""
    return text.strip() if len(text) <= MAX_CELL else text[:MAX_CELL]


def _name(row: Mapping[str, Any], name: str) -> str:
    text = _plain(row.get(name), name)
    if not text:
        raise ValueError(f"{name} is missing")
    if len(text) > MAX_NAME or not text.isprintable():
        raise ValueError(f"{name} must have 1 to {MAX_NAME} printable characters")
    return text


def _unit(raw: Any) -> str:
    text = _plain(raw, "unit")
    if len(text) > MAX_UNIT or not text.isprintable() or text == "*":
        raise ValueError(f"unit must have up to {MAX_UNIT} printable characters")
    return text


def _value(raw: Any) -> str:
    """The number's own digits, in the form that JSON has for it."""
    text = _plain(raw, "value")
    if not text:
        raise ValueError("value is missing")
    match = _NUMBER.fullmatch(text) if len(text) <= MAX_DIGITS and text.isascii() else None
    if match is None or not math.isfinite(float(text)):
        raise ValueError(f"value {_shown(text)} is no number; use digits with a decimal point, like 23.50")
    sign = "-" if text[0] == "-" else ""
    whole = (match[1] or "0").lstrip("0") or "0"
    fraction = match[2] or match[5] or ""
    return f"{sign}{whole}{fraction if len(fraction) > 1 else ''}{match[3] or match[6] or ''}"


def _time(raw: Any, zone: tzinfo) -> int:
    text = _plain(raw, "timestamp")
    if not text:
        raise ValueError("timestamp is missing")
    wrong = ValueError(f"timestamp {_shown(text)} is no time; use RFC 3339, like 2026-01-31T08:00:00Z")
    try:
        if _EPOCH.fullmatch(text):
            seconds = float(text) / (1000 if len(text) >= 12 and "." not in text else 1)
            return microseconds(datetime.fromtimestamp(seconds, UTC))
        found = _moment(text)
        if found is None:
            raise wrong
        found = found if found.tzinfo is not None else found.replace(tzinfo=zone)
        if not YEARS[0] <= found.year <= YEARS[1]:
            raise ValueError(f"timestamp {_shown(text)} is not of the years {YEARS[0]} to {YEARS[1]}")
        return microseconds(found)
    except OverflowError:
        raise wrong from None


def _moment(text: str) -> datetime | None:
    match = _LOOSE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        found = datetime(year, month, day, hour, minute, second, int((match[7] or "0")[:6].ljust(6, "0")))
        if match[8]:
            offset = match[8].upper().replace("Z", "+00:00")
            found = datetime.fromisoformat(found.isoformat() + offset)
    except ValueError:
        return None
    return found


def _shown(text: str) -> str:
    """What was given, short enough and without what could steer a terminal."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:40])
    return f"{shown!r}" + ("…" if len(text) > 40 else "")
