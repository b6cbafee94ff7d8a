"""``./task bench``: the same work through Parley and its peers in one run; prints tables, writes a plot.

Uses the broker in AMQP_URL, or starts a private RabbitMQ that ends with the run.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench import idle, latency, report, throughput
from bench.stack import ROOT


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """The address of a broker for this run."""
    given = os.environ.get("AMQP_URL", "")
    if given:
        yield given
        return
    command = [sys.executable, "-m", "parley_client.up.broker", "run", "--fresh", "--until-eof", "--data", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise SystemExit("no broker could be started; set AMQP_URL to use one of yours")
            yield url
        finally:
            process.stdin.close()
            process.wait(60)


def say(text: str) -> None:
    """Progress goes to standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


async def everything(folder: Path, amqp: str, out: Path) -> str:
    """All three measurements."""
    flows = await throughput.run(folder, amqp, say)
    latencies = await latency.run(folder, amqp, say)
    idles = await idle.run(folder, amqp, say)
    return report.write(flows, latencies, idles, out)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "out", help="folder of report.md and report.png")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        folder = Path(name)
        with broker(folder / "broker") as amqp:
            text = uvloop.run(everything(folder, amqp, options.out))
    sys.stdout.write(f"{text}\n\nplot: {options.out / 'report.png'}\n")


if __name__ == "__main__":
    main()
