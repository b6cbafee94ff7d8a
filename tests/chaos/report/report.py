"""The report of a run: tables on the terminal, ``summary.json``, and one HTML file with a timeline."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..checker.verdict import KINDS, RULES, Verdict
from ..history import Happening
from .page import page
from .summary import Summary, as_json, summarize

STATUSES = ("completed", "cancelled", "failed", "expired", "refused", "open")
SHOWN = 20
"""Violations on the terminal; the files hold more."""


def write(happenings: Iterable[Happening], verdict: Verdict, out: Path, console: Console | None = None) -> Path:
    """Print the tables and write ``summary.json`` and ``report.html`` into the folder ``out``, which is made where it
    is missing. Returns the HTML file.
    """
    summary = summarize(happenings, verdict)
    out.mkdir(parents=True, exist_ok=True)
    figures = msgspec.json.format(msgspec.json.encode(as_json(summary, verdict)), indent=2)
    (out / "summary.json").write_bytes(figures + b"\n")
    path = out / "report.html"
    path.write_text(page(summary, verdict), encoding="utf-8")
    _print(console or Console(), summary, verdict)
    return path


def _print(console: Console, summary: Summary, verdict: Verdict) -> None:
    console.print(_headline(verdict))
    console.print(_turns(summary, verdict))
    if verdict.faults:
        console.print(_faults(verdict))
    if summary.recoveries:
        console.print(_recoveries(summary))
    for violation in verdict.violations[:SHOWN]:
        console.print(Text(str(violation), style="red"))
    if (more := verdict.broken.total() - min(SHOWN, len(verdict.violations))) > 0:
        console.print(Text(f"{more} more violations; the files tell of them", style="red"))


def _headline(verdict: Verdict) -> Table:
    table = Table(title="Broken promises", title_justify="left")
    for kind in KINDS:
        table.add_column(kind, justify="right")
    table.add_column("verdict")
    cells = [Text(str(verdict.number(kind)), style="bold red" if verdict.number(kind) else "bold") for kind in KINDS]
    table.add_row(*cells, words(verdict))
    return table


def words(verdict: Verdict) -> str:
    """The verdict in a few words."""
    if verdict.broken:
        rules = [rule for rule in RULES if verdict.broken[rule]]
        return "broken: " + ", ".join(f"{RULES[rule].guarantee} {rule}" for rule in rules)
    if not verdict.finished:
        return "the history has no end"
    return "every promise was kept" if verdict.ok else "nothing was judged"


def _turns(summary: Summary, verdict: Verdict) -> Table:
    table = Table(title="Turns, as each client was told of them", title_justify="left")
    counts = verdict.counts
    names = ("judged", "accepted", *STATUSES, "restarts", "read again", "sockets", "resumes", "gaps said", "frames")
    table.add_column("what")
    table.add_column("number", justify="right")
    for name in names:
        table.add_row(name, f"{counts[name]:,}")
    table.add_row("seconds", f"{summary.lasted_s:,.1f}")
    return table


def _faults(verdict: Verdict) -> Table:
    phases = sorted({phase for _, phase in verdict.faults})
    table = Table(
        title=f"Faults: {verdict.counts['faults']:,}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("fault", no_wrap=True, min_width=max(len(fault) for fault, _ in verdict.faults))
    for phase in phases:
        table.add_column(phase or "any time", justify="right")
    for fault in sorted({fault for fault, _ in verdict.faults}):
        table.add_row(fault, *(str(verdict.faults[fault, phase] or "") for phase in phases))
    return table


def _recoveries(summary: Summary) -> Table:
    table = Table(title="From a fault to the next words of a turn under way, seconds", title_justify="left")
    for name in ("fault", "turns", "p50", "p95", "max", "never"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for each in summary.recoveries:
        figures = (f"{value:.3f}" for value in (each.p50, each.p95, each.most))
        table.add_row(each.fault, str(each.turns), *figures, str(each.never or ""))
    return table
