"""The hold points are where they say they are; patches find what they patch; a wrong clock is wrong."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..history import History
from ..scenes.scene import STEP_S, Scene
from ..world.stops import Stop
from ..world.world import World, WorldOptions, open_world
from . import mutations, points, probe

pytestmark = pytest.mark.e2e

BESIDE = {"forwarded": {"first"}, "first": {"forwarded"}, "recorded": {"stored"}, "stored": {"recorded"}}
"""Points of two processes, either of which may be the earlier."""


def status(world: World, turn: str) -> str | None:
    """What the store says of the turn; None: no row."""
    path = world.stack.store.removeprefix("sqlite+aiosqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        rows = database.execute("SELECT status FROM turns WHERE turn = ?", (turn,)).fetchall()
    return rows[0][0] if rows else None


async def test_a_turn_passes_every_point_and_is_held_there(tmp_path: Path) -> None:
    async with open_world(WorldOptions(processes=1, folder=tmp_path)) as world:
        scene = Scene(world, History(), "points")
        person = await scene.person()
        stops = {point: scene.hold(point) for point in points.IN_ORDER}
        try:
            turn = await scene.ask(person, scene.question(every=10))
            for number, point in enumerate(points.IN_ORDER):
                reached = await stops[point].reached(STEP_S)
                _held_alone(stops, number)
                assert scene.member(reached).role in [role for role, own in points.POINTS.items() if point in own]
                match point:
                    case "accept":
                        assert turn not in person.accepted
                    case "queued":
                        await person.until(lambda: turn in person.accepted)
                        assert status(world, turn) is None
                    case "retrieving":
                        assert status(world, turn) == "open"
                    case "first":
                        assert turn not in person.texts
                    case "answer":
                        await scene.until_half(person)
                    case "recorded":
                        await stops["stored"].reached(STEP_S)
                    case "stored":
                        assert status(world, turn) == "completed"
                        assert turn not in person.done
                    case "told":
                        await person.until(lambda: turn in person.done)
                stops[point].release()
        finally:
            await person.go()


def _held_alone(stops: dict[str, Stop], number: int) -> None:
    """The turn is at one point and at none behind it."""
    point = points.IN_ORDER[number]
    later = set(points.IN_ORDER[number + 1 :]) - BESIDE.get(point, set())
    assert not [name for name in later if stops[name].is_reached]


async def test_another_turn_is_not_held_and_nobody_has_to_listen(tmp_path: Path) -> None:
    nobody = str(tmp_path / "nobody")
    async with asyncio.timeout(STEP_S):
        await points.Holds(nobody, "rag").reach("queued", "hold-1")
        listening: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listening.append(await reader.readline())
            writer.close()

        async with await asyncio.start_unix_server(listen, str(tmp_path / "socket")):
            holds = points.Holds(str(tmp_path / "socket"), "rag")
            await holds.reach("queued", "t1")
            assert listening == []
            # A connection that ends means go.
            await holds.reach("queued", "hold-1", 3)
    expected = f'{{"pid": {os.getpid()}, "role": "rag", "point": "queued", "turn": "hold-1", "fence": 3}}\n'
    assert listening == [expected.encode()]


@pytest.mark.parametrize("role", probe.ROLES)
def test_every_patch_finds_what_it_patches(role: str, tmp_path: Path) -> None:
    code = f"from tests.chaos.inside import probe; probe.prepare({role!r}); import time; print(time.time())"
    clock = tmp_path / "clock"
    clock.write_text("3600\n", encoding="ascii")
    settings = {
        "PYTHONPATH": os.pathsep.join([str(probe.ROOT), os.environ.get("PYTHONPATH", "")]),
        probe.PROBE: str(tmp_path / "socket"),
        probe.MUTATION: str(tmp_path / "mutation"),
        probe.CLOCK: str(clock),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - time.time() - 3600) < 60


def test_the_command_runs_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [*probe.command("gateway")[:-1], "nobody"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "usage: python -m tests.chaos.inside.probe gateway|rag|inference|asr\n",
    )


class Shape:
    """Something to patch."""

    def area(self, side: int) -> int:
        return side * side


def test_a_patch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(points.Changed, match=r"Shape\.perimeter is gone"):
        points.wrap(Shape, "perimeter", ("self",), lambda original: original)
    with pytest.raises(points.Changed, match=r"Shape\.area takes \('self', 'side'\)"):
        points.wrap(Shape, "area", ("self",), lambda original: original)
    points.wrap(Shape, "area", ("self", "side"), lambda original: lambda self, side: original(self, side) + 1)
    assert Shape().area(2) == 5


def test_a_mutation_is_named_or_read_from_a_file(tmp_path: Path) -> None:
    assert mutations.Switch("no-watch").on("no-watch")
    assert not mutations.Switch("no-watch").on("no-begin")
    file = tmp_path / "mutation"
    switch = mutations.Switch(str(file))
    assert not switch.on("no-watch")
    file.write_text("no-watch\n", encoding="ascii")
    deadline = time.monotonic() + 5
    while not switch.on("no-watch"):
        assert time.monotonic() < deadline
    with pytest.raises(ValueError, match=r"no mutation 'no-sleep'; there are no-fence-test, "):
        mutations.apply("no-sleep", "rag")


def test_a_wrong_clock_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = probe.WrongClock(file, lambda: 1000.0)
    assert clock() == 1000.0
    file.write_text("-60.5\n", encoding="ascii")
    assert clock() == 939.5
    file.write_text("0\n", encoding="ascii")
    assert clock() == 1000.0
