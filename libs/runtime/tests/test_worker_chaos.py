"""Many turns while workers lose their connections, die, and lose confirms: every turn's row is closed, once, with a
text that one of its runs made whole.
"""

import asyncio
import itertools
import random
from typing import Any, cast

import pytest

from parley_protocol.events import Source, TurnStatus
from parley_protocol.ids import TurnKey
from parley_protocol.routes import Stage
from parley_protocol.work import ChatMessage, Generate, Record, Retrieve
from parley_runtime.errors import OutcomeUnknown
from parley_runtime.sink import SinkOptions
from parley_runtime.stage import Run, StageSpec, following, record
from parley_runtime.store.ports import Store, Stored
from parley_runtime.work.options import Claim, WorkerOptions
from parley_testkit.house import House, question
from parley_testkit.turns import Collector, JobTap

pytestmark = pytest.mark.unit

TURNS = 40
WORDS = ("one ", "two ", "three ", "four")
SOURCE = Source("1", "a.md", "A", 0.5, "text", 0, 4)


class Recorder(Collector):
    """Closes rows as the real one does."""

    def __init__(self, house: House, tap: JobTap) -> None:
        super().__init__()
        self.stored: list[TurnKey] = []
        self.statuses: list[TurnStatus] = []
        self._house = house
        self._tap = tap

    async def run(self) -> None:
        count = 0
        while True:
            count += 1
            job = await self._tap.next(count, limit_s=60)
            assert isinstance(job, Record)
            closing = await self._house.store.close(job)
            if isinstance(closing, Stored):
                self.stored.append(closing.row.key)
                self.statuses.append(closing.row.status)
                self.changed()


class Lagging:
    """A store some of whose claims land late, and even if the process that made them has ended meanwhile."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self._store = store
        self._dice = dice
        self.landing: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if not name.startswith("claim_"):
            return method

        async def late(*key: Any, **asked: Any) -> Any:
            await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.03, 0.15)))
            return await method(*key, **asked)

        async def claim(*key: Any, **asked: Any) -> Any:
            task = asyncio.create_task(late(*key, **asked))
            self.landing.add(task)
            task.add_done_callback(self.landing.discard)
            return await asyncio.shield(task)

        return claim


async def retrieve(run: Run[Retrieve]) -> Generate:
    run.status("retrieving")
    await asyncio.sleep(random.uniform(0, 0.01))
    run.retrieval("question", "search", [SOURCE])
    return following(run, [ChatMessage("user", run.job.question)])


async def generate(run: Run[Generate]) -> Record:
    for word in WORDS:
        await asyncio.sleep(random.uniform(0, 0.02))
        run.delta(word)
    return record(run)


STAGES = (
    StageSpec(Stage.RETRIEVE, Retrieve, 4, retrieve, first=True),
    StageSpec(Stage.GENERATE, Generate, 4, generate),
)


def quick(claim: Claim) -> WorkerOptions:
    """Short waits."""
    return WorkerOptions(
        claim=claim,
        begin_wait_s=0.02,
        begin_more_s=0.005,
        running_wait_s=0.02,
        publish_s=0.1,
        sink=SinkOptions(confirm_s=0.1),
    )


async def disturb(house: House, dice: random.Random, options: WorkerOptions) -> None:
    """Three workers, one of which is harmed every few milliseconds; a killed one is replaced."""
    workers = {f"w{index}": await house.worker(*STAGES, name=f"w{index}", options=options) for index in range(3)}
    for made in range(3, 15):
        await asyncio.sleep(dice.uniform(0.01, 0.08))
        victim = dice.choice(sorted(workers))
        match dice.choice(("cut", "kill", "confirms")):
            case "cut":
                house.broker.cut(victim)
            case "kill":
                house.broker.kill(victim)
                await workers.pop(victim).aclose()
                workers[f"w{made}"] = await house.worker(*STAGES, name=f"w{made}", options=options)
            case _:
                house.broker.lose_confirms(2)


async def ask(house: House, key: TurnKey) -> None:
    """As a gateway does: a lost confirm is followed by another submission."""
    for attempt in itertools.count():
        try:
            await house.gateway.publish(question(key=key, submission=f"{key.turn}-{attempt}"), timeout_s=0.1)
        except OutcomeUnknown:
            continue
        return


@pytest.mark.parametrize("claim", Claim)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_turn_ends_once_whatever_happens_to_its_workers(house: House, seed: int, claim: Claim) -> None:
    dice = random.Random(seed)
    lagging = Lagging(house.store, dice)
    house.store = cast(Store, lagging)
    recorder = Recorder(house, await house.tap(Stage.RECORD))
    recording = asyncio.create_task(recorder.run())
    trouble = asyncio.create_task(disturb(house, dice, quick(claim)))
    keys = [TurnKey("default", "s1", f"t{index}") for index in range(TURNS)]
    for key in keys:
        await ask(house, key)
        await asyncio.sleep(dice.uniform(0, 0.02))
    await trouble
    await recorder.until(lambda: len(recorder.stored) == TURNS, limit_s=30)
    recording.cancel()
    await asyncio.wait({recording})
    while lagging.landing:
        await asyncio.wait(lagging.landing)
    rows = await house.store.rows(keys)
    assert len(set(recorder.stored)) == TURNS
    assert {(row.status, row.text) for row in rows} == {(TurnStatus.COMPLETED, "".join(WORDS))}
    assert all(row.fence >= row.base >= 1 for row in rows)
    assert all(row.marks.retrieval is not None for row in rows)
