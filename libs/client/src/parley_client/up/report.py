"""What `parley up` tells the person at the terminal: steps with their time, warnings, and the lines of its children."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

_COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green")
_LEVEL = re.compile(r"\b(debug|info|warning|warn|error|critical|fatal|traceback)\b", re.IGNORECASE)
_BAD = frozenset({"error", "critical", "fatal", "traceback"})
_LOUD = _BAD | {"warning", "warn"}
_QUIET_FIELDS = {"event", "level", "ts", "timestamp", "logger", "role", "id", "exception"}


class Report:
    """Prints progress for people. On a terminal a running step spins; elsewhere each step is a line."""

    def __init__(self, console: Console | None = None, *, verbose: bool = False) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.verbose = verbose
        self._spinning = False
        self._colours: dict[str, str] = {}

    def line(self, text: str = "") -> None:
        """A plain line."""
        self.console.print(escape(text))

    def title(self, text: str) -> None:
        """A line that stands out."""
        self.console.print(f"[bold]{escape(text)}[/bold]")

    def good(self, text: str) -> None:
        """Something that is done."""
        self.console.print(f"[green]✓[/green] {escape(text)}")

    def warn(self, text: str) -> None:
        """Something to know, that stops nothing."""
        self.console.print(f"[yellow]![/yellow] {escape(text)}")

    def bad(self, text: str) -> None:
        """Something that stops the command."""
        self.console.print(f"[red]✗[/red] {escape(text)}")

    @contextmanager
    def step(self, text: str) -> Iterator["Step"]:
        """Shows `text` while the body runs, and what the body put into `done`, with the seconds it took, after it."""
        step, began = Step(self, text), time.monotonic()
        if self.console.is_terminal and not self._spinning:  # rich shows one live line at a time
            self._spinning = True
            try:
                with self.console.status(escape(text)) as status:
                    step.spin = status.update
                    yield step
            finally:
                self._spinning = False
        else:
            self.line(f"  {text} ...")
            yield step
        self.good(f"{step.done or text} ({time.monotonic() - began:.1f} s)")

    def child(self, name: str, line: str, *, only_errors: bool = False) -> None:
        """A line that the process `name` logged: shown when it warns (or, with `only_errors`, when it tells of an
        error), or when everything is asked for.
        """
        level, text = read_line(line)
        if not self.verbose and level not in (_BAD if only_errors else _LOUD):
            return
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        self.console.print(f"[{colour}]{name:<12}[/{colour}] {escape(text)}")


class Step:
    """A step that is under way."""

    def __init__(self, report: Report, text: str) -> None:
        self.done = ""
        self.spin: object = None
        self._report = report
        self._text = text

    def now(self, text: str) -> None:
        """Says what the step is doing now."""
        if callable(self.spin):
            self.spin(escape(f"{self._text}: {text}"))
        else:
            self._report.line(f"  {self._text}: {text}")


def read_line(line: str) -> tuple[str, str]:
    """The level in lower case ("" when it shows none) and the readable text of a log line, JSON or plain."""
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and "event" in record:
            level = str(record.get("level", "")).lower()
            rest = " ".join(f"{key}={value}" for key, value in record.items() if key not in _QUIET_FIELDS)
            return level, f"{level:<8}{record['event']} {rest}".rstrip()
    found = _LEVEL.search(line[:80])
    return (found[1].lower() if found else ""), line
