"""A stage that takes ``--turns`` turns and then sends one token to each, round after round, as a batched engine does.

It runs on the real worker loop, sink, store and broker; only the engine is missing. ``--ahead`` bounds the events
under way; standard input says how many have arrived, one number a line. ``--rate`` sends so many events a second
instead, one round at a time.
"""

import argparse
import asyncio
import os
import sys

import uvloop

from bench.peers.workers import Window
from parley_protocol.control import Audience
from parley_protocol.routes import topology
from parley_protocol.work import Generate, Record, Retrieve
from parley_runtime.amqp import AmqpBroker
from parley_runtime.config import read
from parley_runtime.control import ControlPlane
from parley_runtime.stage import Run, StageSpec
from parley_runtime.store import open_store
from parley_runtime.worker import WorkerOptions, open_worker


class Flood:
    def __init__(self, turns: int, ahead: int, rate: float) -> None:
        self.turns = turns
        self.rate = rate
        self.window = Window(ahead)
        self.runs: list[Run[Retrieve]] = []
        self.full = asyncio.Event()

    async def handle(self, run: Run[Retrieve]) -> Generate | Record:
        run.status("generating")
        self.runs.append(run)
        if len(self.runs) == self.turns:
            self.full.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def pour(self) -> None:
        await self.full.wait()
        runs, room = self.runs, self.window.room
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.rate:
                due = max(due + len(runs) / self.rate, loop.time() - 0.05)
                await asyncio.sleep(max(0.0, due - loop.time()))
            else:
                await room(len(runs))
            for run in runs:
                run.delta("tok~")
            await asyncio.sleep(0)


async def work(turns: int, ahead: int, rate: float) -> None:
    broker = AmqpBroker(os.environ["AMQP_URL"], name="bench-worker", topology=topology())
    store = await open_store(os.environ["PARLEY_STORE"])
    flood = Flood(turns, ahead, rate)
    stage = StageSpec("retrieve", Retrieve, turns, flood.handle, first=True)
    control = await ControlPlane.open(broker, process_id="bench-worker", audience=Audience.WORKERS)
    options = read(WorkerOptions, os.environ)
    async with open_worker([stage], broker=broker, store=store, control=control, options=options):
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), flood.window.take)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await flood.pour()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, required=True)
    parser.add_argument("--ahead", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(work(options.turns, options.ahead, options.rate))


if __name__ == "__main__":
    main()
