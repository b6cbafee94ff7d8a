"""What Parley does a second, how long a turn takes and what a guarantee costs, beside its peers, all in one run.

Prints tables; writes report.md, figures.json and report.png. Uses the broker in AMQP_URL, or starts a private RabbitMQ
that ends with the run (the broker that is killed is always one of its own). Ctrl-C ends everything that was started and
still reports what is done.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench import cancel, dialects, idle, latency, path, price, recovery, report, saturation, slow, throughput
from bench.broker import broker
from bench.stack import ROOT
from bench.voice import measure as voice

BUSY_LOAD = 0.5
"""Load average from which on a run says that other programs use the machine."""


def say(text: str) -> None:
    """Progress goes to standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


@dataclass
class Bench:
    """One run: where it writes, what it has found."""

    folder: Path
    amqp: str
    quick: bool
    results: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def peak(self) -> float:
        """Turns per second at saturation, one process of each kind; 0 where it was not measured."""
        found = self.results.get("saturation")
        return found.peaks[0].turns_s if found is not None else 0.0


@dataclass(frozen=True)
class Measurement:
    """``minutes`` on a 2-core machine."""

    about: str
    minutes: float
    run: Callable[[Bench], Awaitable[Any]]


MEASUREMENTS: dict[str, Measurement] = {
    "throughput": Measurement(
        "events per second from a worker to 50 sockets, with peers",
        2,
        lambda bench: throughput.run(bench.folder, bench.amqp, say),
    ),
    "latency": Measurement(
        "one turn at a time: first token and whole turn, with peers",
        1,
        lambda bench: latency.run(bench.folder, bench.amqp, say),
    ),
    "path": Measurement(
        "where the time and the CPU of one turn go",
        0.3,
        lambda bench: path.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "idle": Measurement(
        "memory and broker operations of 5,000 idle connections, with peers",
        1,
        lambda bench: idle.run(bench.folder, bench.amqp, say),
    ),
    "saturation": Measurement(
        "turns per second with 1, 2 and 4 processes of a kind, CPU of a turn, latency at 70 %",
        4,
        lambda bench: saturation.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "dialects": Measurement(
        "turns of the documented dialects beside native ones: CPU of a turn",
        1.5,
        lambda bench: dialects.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "cancel": Measurement(
        "from a cancel to its seat being free, idle and at 70 % load",
        1.5,
        lambda bench: cancel.run(bench.folder, bench.amqp, bench.quick, say, bench.peak),
    ),
    "recovery": Measurement(
        "from the kill of each kind of process to the turn going on",
        9,
        lambda bench: recovery.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "slow": Measurement(
        "memory, and other sessions' latency, beside 1,000 sessions that do not read",
        2.5,
        lambda bench: slow.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "price": Measurement(
        "what each guarantee costs: with and without it, in turn",
        6,
        lambda bench: price.run(bench.folder, bench.amqp, bench.quick, say),
    ),
    "voice": Measurement(
        "speech: word error rate, first and last words, streams, kills in mid-sentence, interruption, with a peer",
        8,
        lambda bench: voice.run(bench.folder / "voice", bench.amqp, bench.quick, say),
    ),
}


async def everything(bench: Bench, names: list[str]) -> None:
    """One after another. One that fails is told of and does not keep the others from running."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    for name in names:
        say(f"{name}: {MEASUREMENTS[name].about}")
        try:
            bench.results[name] = await MEASUREMENTS[name].run(bench)
        except Exception as error:
            bench.failed[name] = f"{type(error).__name__}: {error}"
            say(f"{name} failed: {bench.failed[name]}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    lines = [f"  {name:<11} {one.about} ({one.minutes:g} min)" for name, one in MEASUREMENTS.items()]
    total = sum(one.minutes for one in MEASUREMENTS.values())
    epilog = "\n".join(
        (
            f"measurements, all of them by default (about {total:.0f} minutes on 2 cores):",
            *lines,
            "",
            "examples:",
            "  ./task bench                                 everything",
            "  ./task bench -- --only saturation,cancel     only these",
            "  ./task bench -- --only recovery --quick      a short look at whether it works",
            "",
            "Figures of a machine that does something else as well mean little: compare only what one run prints.",
        )
    )
    made = argparse.ArgumentParser(
        prog="./task bench --", description=__doc__, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--only", type=_names, default=list(MEASUREMENTS), metavar="NAME,...", help="leave the others out"
    )
    made.add_argument("--quick", action="store_true", help="short runs: shows that it works, not how fast")
    made.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="folder of the report (%(default)s)")
    return made


def _names(text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in asked if name not in MEASUREMENTS]
    if unknown or not asked:
        raise argparse.ArgumentTypeError(
            f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}"
        )
    return [name for name in MEASUREMENTS if name in asked]


def main() -> None:
    options = parser().parse_args()
    on = report.machine()
    if on["load"] > BUSY_LOAD:
        say(f"other programs use this machine (load {on['load']}): the figures will be worse than they should be")
    stopped = False
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        say("starting a broker")
        with broker(folder / "broker") as amqp:
            bench = Bench(folder, amqp, options.quick)
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(everything(bench, options.only))
            except (KeyboardInterrupt, asyncio.CancelledError):
                stopped = True
                say("stopped; reporting what is done")
    text = report.write(bench.results, options.out, quick=options.quick, on=on)
    sys.stdout.write(f"{text}\n\nwritten: {options.out}/report.md, figures.json, report.png\n")
    for name, reason in bench.failed.items():
        sys.stdout.write(f"FAILED {name}: {reason}\n")
    sys.exit(130 if stopped else 1 if bench.failed else 0)


if __name__ == "__main__":
    main()
