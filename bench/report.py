"""The table and the plot."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench.idle import Idle
from bench.latency import Latencies
from bench.throughput import Flow

BAR_RATIO = 25.0
"""design: events delivered, against python-socketio's aio-pika manager in the same run."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def flows_table(flows: list[Flow]) -> str:
    """Events per second, ratios and CPU."""
    base = flows[0].events_s
    rows = [
        [
            flow.name,
            f"{flow.events_s:,.0f}",
            f"{flow.events_s / base:.1f}x",
            f"{flow.frames_s:,.0f}",
            *(f"{flow.cpu_us[process]:.1f}" for process in ("gateway", "worker", "broker")),
        ]
        for flow in flows
    ]
    head = ["to 50 sockets", "events/s", "ratio", "frames/s", "gateway us/event", "worker us/event", "broker us/event"]
    return _table(head, rows)


def latency_table(rows: list[Latencies]) -> str:
    """Milliseconds."""
    cells = [
        [row.name, *(f"{value:.2f}" for value in (row.first_p50, row.first_p99, row.whole_p50, row.whole_p99))]
        for row in rows
    ]
    return _table(["one turn, ms", "first token p50", "p99", "whole turn p50", "p99"], cells)


def idle_table(rows: list[Idle]) -> str:
    """Memory and broker operations."""
    cells = [[row.name, f"{row.kib:.1f}", f"{row.operations:.2f}"] for row in rows]
    return _table(["5,000 idle connections", "KiB each", "broker operations per connect and disconnect"], cells)


def plot(flows: list[Flow], latencies: list[Latencies], idle: list[Idle], path: Path) -> None:
    """Three panels: throughput (log scale), first token, memory."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.8), constrained_layout=True)
    grey, blue = "#9aa5b1", "#2563eb"

    def bars(axis: Any, names: list[str], values: list[float], title: str, style: str) -> None:
        colours = [blue if name.startswith("Parley") else grey for name in names]
        drawn = axis.barh(names, values, color=colours)
        axis.bar_label(drawn, fmt=style, padding=3)
        axis.set_title(title)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.25)

    names = [flow.name for flow in flows]
    bars(axes[0], names, [flow.events_s for flow in flows], "events/s to 50 sockets (log scale)", "{:,.0f}")
    axes[0].set_xscale("log")
    names = [row.name for row in latencies]
    bars(axes[1], names, [row.first_p50 for row in latencies], "first token, p50 ms", "{:.2f}")
    names = [row.name for row in idle]
    bars(axes[2], names, [row.kib for row in idle], "KiB per idle connection", "{:.1f}")
    for axis in axes[1:]:
        short = [label.get_text().split(" +")[0].split(",")[0] for label in axis.get_yticklabels()]
        axis.set_yticks(axis.get_yticks(), short)
    figure.savefig(path, dpi=130)


def write(flows: list[Flow], latencies: list[Latencies], idle: list[Idle], folder: Path) -> str:
    """``report.md``, ``figures.json`` and ``report.png`` in ``folder``; returns the tables."""
    text = "\n\n".join((flows_table(flows), latency_table(latencies), idle_table(idle)))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    figures = {
        "throughput": [dataclasses.asdict(flow) for flow in flows],
        "latency": [dataclasses.asdict(row) for row in latencies],
        "idle": [dataclasses.asdict(row) for row in idle],
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    plot(flows, latencies, idle, folder / "report.png")
    return text
