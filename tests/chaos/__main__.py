"""``./task chaos``: see :data:`ABOUT`."""

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .handsfree import cells as handsfree
from .matrix import whole
from .report import report
from .run import Outcome, RunOptions, matrix, storm
from .voice import FAULTS, Cell, VoiceMatrix, speaking
from .voice import whole as spoken_cells
from .world.faults import CATALOGUE
from .world.world import WorldOptions, open_world

ABOUT = """\
Breaks a real installation in every way it must survive, and judges it by what its clients saw.

Two gateways, two rag and two inference processes run on a broker of their own, each behind a link of its own that can
be cut. Sessions ask without pause while faults happen: processes are killed, stopped and restarted, links are cut or
go silent, the broker dies, clients come and go. In the end every turn must have had exactly one end, every text must be
whole, in order, and what is stored. Nothing inside Parley is asked.

  ./task chaos -- --minutes 2                  a short storm of random faults
  ./task chaos -- --minutes 30 --seed 7        a long one; the same seed repeats the same faults
  ./task chaos -- --matrix                     each fault in each phase of a turn, as CI runs it
  ./task chaos -- --matrix --only kill-rag     one row of it
  ./task chaos -- --voice                      each fault in each phase of a spoken turn, and of a talk hands free
  ./task chaos -- --voice --only kill-asr      one row of both
  ./task chaos -- --image rabbitmq:4.0-management --minutes 5

Ctrl-C ends a storm early: it is healed, judged and reported. The exit code is 1 where a promise was broken, a turn was
left lying until its deadline, a process ended or hung by itself, or a fault of the matrix did not happen at its phase.
The folder --out gets the report, the history (one line for each frame and fault) and the log of every process; also
still.txt, where turns stood still: what the broker, the store and each process held meanwhile.
"""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parsed; exits with 2 and a sentence where they are wrong."""
    faults = "\n".join(f"  {fault.name:<22} {fault.what}" for fault in CATALOGUE.values())
    parser = argparse.ArgumentParser(
        prog="./task chaos --",
        description=ABOUT,
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults go on (default: 2)")
    parser.add_argument("--seed", type=int, default=1, help="of faults, targets and questions (default: 1)")
    parser.add_argument("--sessions", type=int, default=20, help="sessions that ask without pause (default: 20)")
    parser.add_argument("--matrix", action="store_true", help="each fault in each phase, once, instead of a storm")
    parser.add_argument("--voice", action="store_true", help="each fault in each phase of what is spoken, once")
    parser.add_argument("--only", default="", metavar="FAULT,...", help="just these faults, see the list below")
    parser.add_argument("--image", default="", help="RabbitMQ image for Docker (default: the installed RabbitMQ)")
    parser.add_argument("--store", default="", help="SQLAlchemy address of an empty store (default: SQLite)")
    parser.add_argument("--claim", default="redelivered", choices=("redelivered", "always"), help="see PARLEY_CLAIM")
    parser.add_argument("--mutation", default="", help="switch a mechanism off, to see that it is missed")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="default: .parley/chaos/TIME")
    found = parser.parse_args(argv)
    known, where = (FAULTS, ", ".join(FAULTS)) if found.voice else (CATALOGUE, "--help lists them")
    if unknown := [name for name in found.only.split(",") if name and name not in known]:
        parser.error(f"no such fault: {', '.join(unknown)}; {where}")
    aimed = {volley.fault for volley in whole()}
    if found.matrix and (stray := [name for name in found.only.split(",") if name and name not in aimed]):
        parser.error(f"not in the matrix: {', '.join(stray)}; without --matrix a storm has every fault")
    return found


def options_of(found: argparse.Namespace) -> RunOptions:
    """What the run is told."""
    out = found.out or Path(".parley/chaos") / time.strftime("%Y%m%d-%H%M%S")
    world = WorldOptions(
        seed=found.seed,
        image=found.image,
        store=found.store,
        claim=found.claim,
        mutation=found.mutation,
        folder=(out / "logs").absolute(),
    )
    only = tuple(name for name in found.only.split(",") if name)
    return RunOptions(world, out, sessions=found.sessions, stoppers=max(1, found.sessions // 10), only=only)


async def _run(found: argparse.Namespace, options: RunOptions) -> Outcome:
    if found.matrix:
        return await matrix(options, whole(), _say)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def enough() -> None:
        loop.remove_signal_handler(signal.SIGINT)  # the next one is not asked what it wants
        stop.set()

    loop.add_signal_handler(signal.SIGINT, enough)
    return await storm(options, found.minutes, stop, _say)


def _say(line: str) -> None:
    print(line, flush=True)


async def _voice(options: WorldOptions, only: Sequence[str]) -> int:
    def chosen(cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [cell for cell in cells if not only or cell[0] in only]

    async with open_world(speaking(options)) as world:
        pushed = await VoiceMatrix(world, _say).run(chosen(spoken_cells()))
        free = await handsfree.HandsFreeMatrix(world, _say).run(chosen(handsfree.whole()))
    _say(f"push to talk: {_kept(pushed)}")
    _say(f"hands free: {_kept(free)}")
    return 1 if any(cell.broken for cell in [*pushed, *free]) else 0


def _kept(cells: list[Cell]) -> str:
    return f"{len(cells)} cells, {sum(not cell.broken for cell in cells)} kept every promise"


def main(argv: list[str]) -> int:
    """The exit code."""
    found = arguments(argv)
    options = options_of(found)
    logging.getLogger("parley_runtime").setLevel(logging.ERROR)
    if found.voice:
        return asyncio.run(_voice(options.world, options.only))
    outcome = asyncio.run(_run(found, options))
    report.write(outcome.history.happenings, outcome.verdict, options.out)
    for cell in outcome.missed:
        _say(f"NOT INJECTED  {cell.fault} at {cell.phase}: {cell.missed}")
    for problem in outcome.problems:
        _say(f"TROUBLE  {problem}")
    for left in outcome.stranded:
        _say(f"STRANDED  {left}: expired, though no fault took its job away")
    for violation in outcome.verdict.violations[:20]:
        _say(
            f"VIOLATION  {violation.guarantee} {violation.rule}  {violation.client} {violation.turn}: {violation.what}"
        )
    _say(f"{outcome.injections} faults; " + ", ".join(f"{n} {name}" for name, n in outcome.verdict.counts.items()))
    _say(f"report: {options.out}")
    return 0 if outcome.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
