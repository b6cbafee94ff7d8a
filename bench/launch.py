"""One real service with something of a benchmark patched in: ``python -m bench.launch ROLE [flags]``.

Parley itself has no such hooks. ``--hold POINT --flag FILE``: while FILE exists, whoever comes to POINT (``search``:
a question is being looked up; ``close``: a record is about to be stored) writes its process id to ``FILE.here`` and
waits. ``--stamps FILE``: the time (monotonic, one clock for the whole machine) at which each answer's seat was given
back is appended. ``--slow SECONDS``: every search lasts so much longer. ``--without GUARANTEE``: see ``bench.without``.
A patch that finds Parley changed ends the process.
"""

import argparse
import asyncio
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from bench import without
from bench.swap import swap

LOOK_S = 0.002


async def _hold(flag: Path) -> None:
    if flag.exists():
        here = Path(f"{flag}.here")
        here.with_suffix(".new").write_text(str(os.getpid()))
        here.with_suffix(".new").rename(here)
    while flag.exists():  # noqa: ASYNC110 - another process removes it
        await asyncio.sleep(LOOK_S)


def hold_search(flag: Path) -> None:
    """Wait before each search."""
    from parley_rag.retrieval import EmbeddedRetriever

    search = EmbeddedRetriever.search

    async def held(self: EmbeddedRetriever, *arguments: Any) -> Any:
        await _hold(flag)
        return await search(self, *arguments)

    swap(EmbeddedRetriever, search=held)


def slow_search(seconds: float) -> None:
    """Wait before each search, as for an index on another machine."""
    from parley_rag.retrieval import EmbeddedRetriever

    search = EmbeddedRetriever.search

    async def slow(self: EmbeddedRetriever, *arguments: Any) -> Any:
        await asyncio.sleep(seconds)
        return await search(self, *arguments)

    swap(EmbeddedRetriever, search=slow)


def hold_close(flag: Path) -> None:
    """Wait before each closing of a row."""
    from parley_runtime.store.turns import TurnTable

    close = TurnTable.close

    async def held(self: TurnTable, record: Any) -> Any:
        await _hold(flag)
        return await close(self, record)

    swap(TurnTable, close=held)


def stamp_seats(path: Path) -> None:
    """Append ``turn seconds`` when a generation has given its seat back. One write a line: no line is torn."""
    from parley_runtime.work.serve import Server

    work = Server._work
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def stamped(self: Server, run: Any) -> Any:
        try:
            return await work(self, run)
        finally:
            os.write(file, f"{run.key.turn} {run.key.session} {time.perf_counter():.6f}\n".encode())

    swap(Server, _work=stamped)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.launch", description=__doc__)
    parser.add_argument("role", choices=("gateway", "rag", "inference"))
    parser.add_argument("--hold", choices=("search", "close"))
    parser.add_argument("--flag", type=Path)
    parser.add_argument("--stamps", type=Path)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--without", choices=tuple(without.VARIANTS))
    options = parser.parse_args()
    if options.hold:
        {"search": hold_search, "close": hold_close}[options.hold](options.flag)
    if options.stamps:
        stamp_seats(options.stamps)
    if options.slow:
        slow_search(options.slow)
    if options.without:
        without.VARIANTS[options.without].patch()
    sys.argv = [f"parley_{options.role}"]
    runpy.run_module(f"parley_{options.role}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
