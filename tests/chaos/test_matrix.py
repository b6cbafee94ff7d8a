"""The fault matrix with a fixed seed: each fault in each phase of a turn, on two brokers; and its parts."""

import asyncio
import itertools
import json
import re
from pathlib import Path

import pytest

from parley_testkit.rabbit import broker_ids, engine_problem, images

from .__main__ import arguments
from .history import Injected
from .inside.points import IN_ORDER
from .matrix import Volley, telling, whole
from .run import Outcome, RunOptions, matrix, schedule
from .world.balancer import Backend, Balancer
from .world.faults import CATALOGUE
from .world.stops import Stops
from .world.waiting import WAITING
from .world.world import WorldOptions

SEED = 20
SESSIONS = 6
FOURS = [one for one in broker_ids() if one.startswith("image-4")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the run's report, history and logs go."""
    return tmp_path


async def _run(out: Path, volleys: list[Volley], image: str = "", claim: str = "redelivered") -> Outcome:
    world = WorldOptions(seed=SEED, image=image, claim=claim, folder=out / "logs")
    return await matrix(RunOptions(world, out, sessions=SESSIONS), volleys, print)


def _check(outcome: Outcome, volleys: list[Volley]) -> None:
    """Every fault was injected at every phase, nothing was broken, and the turns that were hit were answered."""
    assert outcome.problems == []
    assert [f"{cell.fault} {cell.phase}: {cell.missed}" for cell in outcome.missed] == []
    aimed = [one for one in outcome.history.happenings if isinstance(one, Injected) and one.phase]
    assert {(one.fault, one.phase) for one in aimed} == {(volley.fault, p) for volley in volleys for p in volley.phases}
    assert len({(one.at, one.fault, one.target) for one in aimed}) == len(volleys)
    assert outcome.verdict.counts["read again"] > 10 * len(volleys)
    assert outcome.verdict.counts["judged"] > 10 * len(volleys)
    broken = [f"{one.guarantee} {one.rule} {one.client} {one.turn}: {one.what}" for one in outcome.verdict.violations]
    assert broken == []
    assert _unanswered(outcome) == []
    assert outcome.stranded == []


def _unanswered(outcome: Outcome) -> list[str]:
    """Turns of cells that were not `completed`, where the fault takes no job away: the checker alone would let a turn
    end `failed` because of any fault, and `expired` whenever its deadline has passed.
    """
    ends = {told.turn: told.status for told in outcome.verdict.turns if told.client == f"aim-{told.turn}"}
    cells = [cell for cell in outcome.cells if not CATALOGUE[cell.fault].loses]
    found = [(cell, ends.get(cell.turn, "never told")) for cell in cells]
    return [f"{cell.fault} {cell.phase}: {end}" for cell, end in found if end != "completed"]


@pytest.mark.e2e
@pytest.mark.timeout(1200)
async def test_each_fault_in_each_phase_breaks_no_promise(out: Path) -> None:
    volleys = whole()
    _check(await _run(out, volleys), volleys)


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_copies_of_every_job_break_no_promise_where_every_stage_claims(out: Path) -> None:
    volleys = [
        volley for volley in whole() if volley.fault in ("duplicate", "kill-inference") and volley.phases == IN_ORDER
    ]
    _check(await _run(out, volleys, claim="always"), volleys)


@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", FOURS)
async def test_telling_faults_break_no_promise_on_rabbitmq_4(out: Path, which: str) -> None:
    assert not engine_problem(), f"{which} needs a container engine (start Docker): {engine_problem()}"
    volleys = telling()
    _check(await _run(out, volleys, images()[which]), volleys)


@pytest.mark.unit
def test_the_matrix_has_every_fault_that_the_protocol_names() -> None:
    named = {volley.fault for volley in whole()}
    assert named <= set(CATALOGUE)
    for role in ("gateway", "rag", "inference"):
        assert {f"{kind}-{role}" for kind in ("kill", "stop", "cut", "blackhole", "orphan", "restart")} <= named
    assert {"broker-restart", "broker-kill", "alarm", "duplicate", "drop", "flap", "unread", "roll"} <= named
    assert {"clock-ahead-rag", "clock-back-inference", "delete-retrieve", "delete-generate", "delete-record"} <= named
    assert {volley.phases for volley in whole() if volley.fault != "unread"} == {IN_ORDER, (WAITING,)}
    assert {"kill-gateway", "kill-rag", "cut-all", "broker-kill"} <= {
        volley.fault for volley in whole() if volley.phases == (WAITING,)
    }


@pytest.mark.unit
def test_a_storm_is_repeated_by_its_seed() -> None:
    def first(seed: int) -> list[tuple[str, float]]:
        return [(step.fault.name, step.lasts_s) for step in itertools.islice(schedule(seed), 60)]

    assert first(3) == first(3)
    assert first(3) != first(4)
    assert {name for name, _ in first(3)[: len(CATALOGUE)]} == set(CATALOGUE)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--only", "kill-rag,kill-cat"], "no such fault: kill-cat"),
        (["--matrix", "--only", "kill-cat"], "no such fault: kill-cat"),
        (["--matrix", "--only", "kill-rag,delete-private,pause-rag"], "not in the matrix: delete-private, pause-rag;"),
    ],
)
def test_a_fault_that_does_not_exist_is_said(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        arguments(argv)
    assert caught.value.code == 2
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.unit
@pytest.mark.parametrize("name", ["dead", "knowledge", "retry", "private"])
def test_queues_that_only_storms_delete_are_among_their_faults(name: str) -> None:
    assert arguments(["--only", f"delete-{name}"]).only == f"delete-{name}"


@pytest.mark.e2e
async def test_a_door_comes_back_to_another_gateway() -> None:
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        writer.write(b"hello")
        try:
            await reader.read(1)
        except ConnectionResetError:
            pass
        finally:
            writer.transport.abort()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    balancer = Balancer([Backend(f"g{i}", port, lambda: True) for i, port in enumerate(ports)], seed=1)
    try:
        door = await balancer.door("p1")
        met = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            assert await reader.readexactly(5) == b"hello"
            met.append(door.gateway)
            assert door.drop(elsewhere=True) == 1
            assert await reader.read(1) == b""
            writer.close()
        assert all(one != other for one, other in itertools.pairwise(met))
    finally:
        await balancer.close()
        for server in servers:
            server.close()
        await asyncio.wait([task for task in served if task is not None], timeout=5)


@pytest.mark.e2e
async def test_a_stop_holds_the_first_process_that_comes(tmp_path: Path) -> None:
    stops = Stops(tmp_path / "stops")
    await stops.start()

    async def reach(pid: int, point: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(stops.path))
        line = {"pid": pid, "role": "rag", "point": point, "turn": "hold-1", "fence": 1}
        writer.write(json.dumps(line).encode() + b"\n")
        try:
            return await reader.readline()
        finally:
            writer.close()

    try:
        stop = stops.arm("hold-1", "queued")
        assert await reach(1, "retrieving") == b"go\n"
        held = asyncio.create_task(reach(1, "queued"))
        assert (await stop.reached(5)).pid == 1
        assert stops.holds("hold-1")
        assert not stops.holds("hold-2")
        assert await reach(2, "queued") == b"go\n"
        assert not held.done()
        stop.release()
        assert await held == b"go\n"
        assert not stops.holds("hold-1")
        assert [(one.pid, one.point) for one in stops.passed["hold-1"]] == [
            (1, "retrieving"),
            (1, "queued"),
            (2, "queued"),
        ]
    finally:
        await stops.close()
