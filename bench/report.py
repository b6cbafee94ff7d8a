"""Results as tables, figures and a picture."""

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench import tables
from bench.bars import bars, bars_table
from bench.plots import plot
from bench.voice import tables as voice_tables

TABLES: dict[str, Callable[[Any], str]] = {
    "throughput": tables.throughput,
    "latency": tables.latency,
    "path": tables.path,
    "idle": tables.idle,
    "saturation": tables.saturation,
    "dialects": tables.dialects,
    "price": tables.price,
    "cancel": tables.cancel,
    "recovery": tables.recovery,
    "slow": tables.slow,
    "voice": voice_tables.voice,
}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def write(results: Mapping[str, Any], folder: Path, *, quick: bool, on: Mapping[str, Any]) -> str:
    """``report.md``, ``figures.json`` and ``report.png`` in ``folder``; returns the tables. ``on``: the machine."""
    where = (
        f"{on['cores']} cores, {on['memory_gib']} GiB, {on['system']}, Python {on['python']}; load before: {on['load']}"
    )
    parts = [f"One run. {where}." + (" Short runs: these figures only show that it works." if quick else "")]
    parts += [TABLES[name](result) for name, result in results.items()]
    parts.append(bars_table(results))
    text = "\n\n".join(part for part in parts if part)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    figures = {"machine": on, "quick": quick, **results, "bars": bars(results)}
    (folder / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    if results:
        plot(results, folder / "report.png")
    return text
