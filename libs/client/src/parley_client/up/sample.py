"""Loads Parley's own documentation as the sample knowledge bases `default` and `test`, and readings of made-up sensors,
over HTTP as anyone would.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from math import pi, sin
from pathlib import Path
from zlib import crc32

from parley_client.api import Api, Readings
from parley_client.ingest import Candidate, Summary, upsert

BASES = ("default", "test")
_NAME = "sample.json"


def files(root: Path) -> list[Candidate]:
    """The documents of the sample, by their path in the project: English and, in docs/zh, Chinese."""
    return [Candidate(path, path.relative_to(root).as_posix()) for path in sorted(_files(root))]


def _files(root: Path) -> Iterator[Path]:
    for name in ("README.md", "ARCHITECTURE.md"):
        if (root / name).is_file():
            yield root / name
    yield from (root / "docs").rglob("*.md")


async def load(api: Api, root: Path, data: Path) -> dict[str, Summary]:
    """Brings both bases up to date; returns what was done to each.

    Documents that are there already, by their digest, are not sent again. One that left the project is removed only
    where an earlier call had put it: what the user added stays. Raises ApiError.
    """
    found = files(root)
    here = {candidate.path for candidate in found}
    before = _recall(data)
    done: dict[str, Summary] = {}
    for base in BASES:
        known = {document.path: document.digest for document in await api.kb.all_documents(base)}
        done[base] = await upsert(api, found, base, known)
        for path in sorted(before & known.keys() - here):
            done[base].removed += await api.kb.delete(base, path)
    (data / _NAME).write_text(json.dumps(sorted(here), ensure_ascii=False), encoding="utf-8")
    return done


def _recall(data: Path) -> set[str]:
    """The paths that the last call put."""
    try:
        paths = json.loads((data / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {str(path) for path in paths} if isinstance(paths, list) else set()


STEP_S = 2 * 3600
"""Between two sample readings; the last ones lie closer to now."""
LAST_S = 600
DAYS = 8
SERIES = (
    # metric, sensor, unit, decimals, middle, swing by day, noise
    ("temp", "pond-1", "℃", 2, 22.5, 2.2, 0.3),
    ("temp", "pond-2", "℃", 2, 21.8, 1.9, 0.3),
    ("do", "pond-1", "mg/L", 2, 7.4, 0.9, 0.2),
    ("ph", "pond-1", "", 2, 7.35, 0.25, 0.05),
    ("turbidity", "pond-1", "NTU", 1, 9.0, 1.5, 1.2),
    ("air_temp", "greenhouse-1", "℃", 1, 24.0, 5.5, 0.8),
    ("humidity", "greenhouse-1", "%", 0, 68.0, 14.0, 3.0),
)


def readings(now: float) -> bytes:
    """The sample readings as CSV, ending at ``now`` (seconds since 1970, less than ten minutes before). A reading
    depends on its own time alone, so that loading them again replaces what it does not add.
    """
    last = int(now) // LAST_S * LAST_S
    first = (last // STEP_S - DAYS * 24 * 3600 // STEP_S) * STEP_S
    times = [*range(first, last, STEP_S), last]
    rows = ["metric,sensor,timestamp,value,unit"]
    for metric, sensor, unit, decimals, middle, swing, noise in SERIES:
        for at in times:
            value = (
                middle + swing * sin(2 * pi * (at % 86_400 / 86_400 - 0.375)) + noise * _noise(f"{metric}{sensor}{at}")
            )
            moment = datetime.fromtimestamp(at, UTC).isoformat()
            rows.append(f"{metric},{sensor},{moment},{value:.{decimals}f},{unit}")
    return ("\n".join(rows) + "\n").encode()


def _noise(seed: str) -> float:
    """Between -1 and 1, the same for the same seed everywhere."""
    return crc32(seed.encode()) / 2**31 - 1


async def load_readings(api: Api, now: float) -> Readings:
    """Brings the sample readings in. Raises ApiError."""
    return await api.readings.put(readings(now), "text/csv")
