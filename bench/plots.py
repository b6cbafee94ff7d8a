"""One picture of a run: a panel for each measurement that was made."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

GREY, BLUE, RED = "#9aa5b1", "#2563eb", "#dc2626"
STACK = {"gateway": "#2563eb", "rag": "#0d9488", "inference": "#d97706", "broker": "#9aa5b1", "client": "#d4d9df"}


def _bars(axis: Any, names: Sequence[str], values: Sequence[float], title: str, style: str) -> None:
    beside = any(name.startswith("Parley") for name in names)
    colours = [BLUE if name.startswith("Parley") or not beside else GREY for name in names]
    drawn = axis.barh(range(len(names)), values, color=colours)
    axis.set_yticks(range(len(names)), [name.split(" +")[0].split(", f")[0] for name in names])
    axis.bar_label(drawn, fmt=style, padding=3)
    axis.set_title(title)
    axis.invert_yaxis()
    axis.margins(x=0.25)


def _throughput(axis: Any, flows: Any) -> None:
    _bars(axis, [flow.name for flow in flows], [flow.events_s for flow in flows], "events/s (log scale)", "{:,.0f}")
    axis.set_xscale("log")


def _latency(axis: Any, rows: Any) -> None:
    names = [row.name.split(",")[0].split(":")[0] for row in rows]
    _bars(axis, names, [row.first_p50 for row in rows], "first token, p50 ms", "{:.2f}")


def _dialects(axis: Any, rows: Any) -> None:
    _bars(axis, [row.name for row in rows], [row.total_us for row in rows], "us of CPU per turn, by dialect", "{:.0f}")


def _idle(axis: Any, rows: Any) -> None:
    _bars(axis, [row.name for row in rows], [row.kib for row in rows], "KiB per idle connection", "{:.1f}")


def _saturation(axis: Any, found: Any) -> None:
    left = [0.0] * len(found.peaks)
    at = range(len(found.peaks))
    for role, colour in STACK.items():
        values = [peak.cpu_us[role] for peak in found.peaks]
        axis.barh(at, values, left=left, color=colour, label=role)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.set_yticks(at, [f"{peak.layout}: {peak.turns_s:.0f}/s" for peak in found.peaks])
    axis.invert_yaxis()
    axis.set_title("us of CPU per turn, saturated")
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=5, frameon=False)


def _path(axis: Any, found: Any) -> None:
    parts = [step for step in found.steps if step.to == "first token"]
    _bars(
        axis, [step.what.split(" (")[0] for step in parts], [step.p50 for step in parts], "to first token, ms", "{:.2f}"
    )


def _recovery(axis: Any, rows: Any) -> None:
    for at, row in enumerate(rows):
        axis.plot(row.seconds, [at] * len(row.seconds), "o", color=BLUE, alpha=0.4, markersize=4)
        if row.bar:
            axis.plot([row.bar] * 2, [at - 0.35, at + 0.35], color=RED)
    axis.set_yticks(
        range(len(rows)), [f"{row.name.split(',')[0]}: {row.what.split(',')[0]}" for row in rows], fontsize=7
    )
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_title("recovery, s (red: bar)")


def _cancel(axis: Any, rows: Any) -> None:
    names = [f"{row.load}: {row.what.split(',')[0].split(' (')[0]}" for row in rows]
    _bars(axis, names, [row.p99 for row in rows], "cancel, p99 ms (red: bar)", "{:.1f}")
    for at, row in enumerate(rows):
        if row.bar:
            axis.plot([row.bar] * 2, [at - 0.35, at + 0.35], color=RED)


def _slow(axis: Any, rows: Any) -> None:
    for row, colour in zip(rows, (GREY, BLUE), strict=False):
        axis.plot([at for at, _ in row.series], [mib for _, mib in row.series], color=colour, label=row.name)
    axis.set_ylim(bottom=0)
    axis.set_title(f"gateway MiB, {rows[0].sessions:,} answers (s)")
    axis.legend(fontsize=7, frameon=False)


def _price(axis: Any, found: Any) -> None:
    _bars(
        axis, [one.name for one in found.prices], [one.rate[1] for one in found.prices], "price in turns/s", "{:.2f}x"
    )
    axis.axvline(1, color=GREY, linewidth=1)


def _voice(axis: Any, found: Any) -> None:
    rows = [row for row in found.levels if not row.refused]
    names = [f"{row.system}: {row.streams} x {row.engine}" for row in rows]
    _bars(axis, names, [row.final[1] for row in rows], "final transcript after stop, p95 ms", "{:.0f}")


PANELS: dict[str, Callable[[Any, Any], None]] = {
    "throughput": _throughput,
    "latency": _latency,
    "idle": _idle,
    "dialects": _dialects,
    "path": _path,
    "saturation": _saturation,
    "price": _price,
    "recovery": _recovery,
    "cancel": _cancel,
    "slow": _slow,
    "voice": _voice,
}


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Write the picture to ``path``."""
    mpl.use("Agg")
    from matplotlib import pyplot

    shown = [name for name in PANELS if name in results]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.8 * columns, 3.6 * rows), constrained_layout=True, squeeze=False
    )
    flat = list(axes.flat)
    for axis, name in zip(flat, shown, strict=False):
        PANELS[name](axis, results[name])
        axis.spines[["top", "right"]].set_visible(False)
    for axis in flat[len(shown) :]:
        axis.axis("off")
    figure.savefig(path, dpi=130)
