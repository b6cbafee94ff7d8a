"""What the commands share: where the server is, how errors end a command, how sources are shown."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape as escape_markup

from parley_client.api import DEFAULT_URL
from parley_client.errors import ApiError, ClientError, Disconnected, TurnRefused
from parley_protocol.client import AnswerDelta, Done, Restarted
from parley_protocol.events import Source, TurnStatus
from parley_protocol.faults import CloseCode

__all__ = [
    "DEFAULT_URL",
    "INTERRUPTED",
    "AsJson",
    "Token",
    "Url",
    "clean",
    "ending",
    "err",
    "escape",
    "leave",
    "nothing",
    "out",
    "run",
    "show_sources",
]

T = TypeVar("T")

Url = Annotated[str, typer.Option("--url", envvar="PARLEY_URL", help="Address of a gateway.", show_default=DEFAULT_URL)]
Token = Annotated[
    str | None, typer.Option("--token", envvar="PARLEY_TOKEN", help="JWT, where the gateway demands one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_STEERING = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)}
"""Control characters of a terminal (C0, DEL, C1), but for tab and line feed."""

_WIDE = 240
"""Columns of a table that goes to a file or a pipe, where nothing needs to fit a screen."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; a ClientError becomes one clear line and exit status 1."""
    try:
        return asyncio.run(work)
    except TurnRefused as error:
        after = f" (try again in {error.retry_after_s:.1f} s)" if error.retry_after_s else ""
        err.print(f"[red]{escape(error.code)}[/red]: {escape(str(error))}{after}")
    except ClientError as error:
        err.print(f"[red]error[/red]: {escape(str(error))}{_token_hint(error)}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(1)


def leave(status: TurnStatus) -> NoReturn:
    """End the command as its turn ended: 0 for a completed one, 130 for a cancelled one, 1 for any other."""
    raise typer.Exit({TurnStatus.COMPLETED: 0, TurnStatus.CANCELLED: INTERRUPTED}.get(status, 1))


def _token_hint(error: ClientError) -> str:
    refused = (isinstance(error, ApiError) and error.status == 401) or (
        isinstance(error, Disconnected) and error.code == CloseCode.BAD_TOKEN
    )
    return "; give one with --token or PARLEY_TOKEN (parley token makes them)" if refused else ""


def nothing(name: str) -> ClientError:
    """What is said of a base without documents: there is no difference to one that was never made."""
    return ClientError(f"there is no knowledge base {name!r}; parley kb list shows those there are")


def clean(text: str) -> str:
    """``text`` without what could steer a terminal: documents and file names are written by others."""
    return text.translate(_STEERING)


def escape(text: str) -> str:
    """``text`` for the middle of a line with markup: shown as it is, but for control characters."""
    return escape_markup(clean(text))


def progress(text: str) -> None:
    """A line on a terminal that the next one replaces; empty: none. Nothing where nobody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{clean(text)}")
        sys.stderr.flush()


def show_sources(sources: Sequence[Source], text: str, *, console: Console = out) -> None:
    """One line for each source that the answer cites, or for all where it cites none."""
    cited = [(number, source) for number, source in enumerate(sources, 1) if f"[{number}]" in text]
    for number, source in cited or list(enumerate(sources, 1)):
        where = f"{source.document}:{source.start}-{source.end}"
        console.print(f"[dim]\\[{number}] {escape(source.title or source.document)}  ({escape(where)})[/dim]")


def show_answer(event: object) -> None:
    """The part of a terminal's conversation that one event of a turn is, if any."""
    match event:
        case AnswerDelta():
            out.print(clean(event.text), end="", markup=False)
        case Restarted():
            out.print("\n[dim]… the answer starts anew:[/dim]")
        case Done():
            out.print()
            show_sources(event.sources, event.text)
            out.print(f"[dim]{escape(ending(event))}[/dim]")
        case _:
            pass


def ending(done: Done) -> str:
    """How a turn ended, in a line: times for a completed one, the reason for the others."""
    latency = done.latency
    times = f"first token {latency.first_token_ms:.0f} ms, whole answer {latency.total_ms:.0f} ms"
    if done.status.value == "completed":
        return times
    reason = f": {done.fault.message}" if done.fault else ""
    return f"{done.status.value}{reason} ({times})"
