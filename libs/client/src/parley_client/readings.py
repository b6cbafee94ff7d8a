"""Bring files of readings to a gateway: large ones in parts, refusals by the line of the file."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parley_client.api import Api, Readings
from parley_client.errors import ClientError

PART = 2_000
"""Readings of one request."""
LARGEST_FILE = 512 * 1024 * 1024
"""Bytes."""

Progress = Callable[[int, int], None]
"""(bytes sent so far, of how many)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request. ``lines``: the file's line of each line (CSV) or place (JSON) of it, from 1 on."""

    data: bytes
    media_type: str
    lines: tuple[int, ...]
    size: int


@dataclass(slots=True)
class Summary:
    """What was done with one file. ``refused``: (line, reason), ``count`` of them in all."""

    file: Path
    stored: int = 0
    count: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


def read(file: Path) -> bytes:
    """Raises ClientError where it cannot be read, is empty or too large."""
    try:
        size = file.stat().st_size
        if not 0 < size <= LARGEST_FILE:
            raise ClientError(f"{file} is empty" if not size else f"{file} has {size:,} bytes; split it")
        return file.read_bytes()
    except OSError as error:
        raise ClientError(f"{file} cannot be read: {error.strerror or error}") from error


def parts(file: Path, data: bytes, *, whole: bool = False) -> Iterator[Part]:
    """``data`` in requests. ``whole``: in one, so that it is taken or refused as one.

    Raises:
        ClientError: it ends in .json and is no JSON.
    """
    if file.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        yield from _json(file, data, whole=whole)
    else:
        yield from _csv(data, whole=whole)


def _json(file: Path, data: bytes, *, whole: bool) -> Iterator[Part]:
    try:
        text = data.decode("utf-8-sig")
        # Numbers stay the texts that they are: a float would lose digits.
        if file.suffix.lower() == ".json":
            raw = _loads(text)
            rows = list(enumerate(raw if isinstance(raw, list) else [raw], 1))
        else:
            lines = enumerate(text.splitlines(), 1)
            rows = [(n, _loads(line)) for n, line in lines if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ClientError(f"{file} is no JSON: {error}") from None
    step = len(rows) if whole else PART
    for start in range(0, len(rows), max(1, step)):
        some = rows[start : start + step]
        body = json.dumps([row for _, row in some], ensure_ascii=False).encode()
        size = len(data) * len(some) // len(rows)
        yield Part(body, "application/json", tuple(place for place, _ in some), size)


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def _csv(data: bytes, *, whole: bool) -> Iterator[Part]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # Another encoding, or some bad lines: the server tells which; it needs the file as it is.
        yield Part(data, "text/csv", (), len(data))
        return
    records = _records(text)
    first = next(records, None)
    if first is None:
        return
    some: list[tuple[int, str]] = []
    for record in records:
        some.append(record)
        if not whole and len(some) >= PART:
            yield _part(first[1], some)
            some = []
    if some or whole:
        yield _part(first[1], some)


def _part(header: str, records: list[tuple[int, str]]) -> Part:
    lines = [1, *(line + k for line, record in records for k in range(record.count("\n") or 1))]
    body = (header if header.endswith("\n") else header + "\n") + "".join(record for _, record in records)
    return Part(body.encode(), "text/csv", tuple(lines), sum(len(record.encode()) for _, record in records))


def _records(text: str) -> Iterator[tuple[int, str]]:
    """Records with the line each begins on; one within quotes may span lines."""
    held, begun = "", 1
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        held = held + line if held else line
        begun = begun if held is not line else number
        if held.count('"') % 2 == 0 or len(held) > csv.field_size_limit():
            yield begun, held
            held, begun = "", number + 1
    if held:
        yield begun, held


async def bring(api: Api, file: Path, *, all_or_nothing: bool = False, progress: Progress | None = None) -> Summary:
    """Bring one file in. With ``all_or_nothing`` it travels as one request, which the server bounds.

    Raises:
        ClientError: the file cannot be read, or the server refuses it as a whole.
    """
    data = read(file)
    summary, sent = Summary(file), 0
    for part in parts(file, data, whole=all_or_nothing):
        found = await api.readings.put(part.data, part.media_type, all_or_nothing=all_or_nothing)
        _add(summary, part, found)
        sent += part.size
        if progress is not None:
            progress(min(sent, len(data)), len(data))
    return summary


def _add(summary: Summary, part: Part, found: Readings) -> None:
    summary.stored += found.stored
    summary.count += found.refused_count or len(found.refused)
    for row in found.refused:
        within = 0 < row.line <= len(part.lines)
        summary.refused.append((part.lines[row.line - 1] if within else row.line, row.reason))
