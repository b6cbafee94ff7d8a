"""Faults while somebody speaks: a few telling cells; `./task chaos -- --voice` runs them all."""

from pathlib import Path

import pytest

from .voice import FAULTS, PHASES, TELLING, VoiceMatrix, whole
from .world.world import VOICE_ROLES, WorldOptions, open_world


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_a_fault_while_somebody_speaks_breaks_no_promise(tmp_path: Path) -> None:
    async with open_world(WorldOptions(seed=20, folder=tmp_path, roles=VOICE_ROLES)) as world:
        cells = await VoiceMatrix(world).run(TELLING)
    assert [f"{cell.fault} {cell.phase}: {cell.broken}" for cell in cells if cell.broken] == []
    assert len(cells) == len(TELLING)


@pytest.mark.unit
def test_the_telling_cells_are_cells() -> None:
    assert set(TELLING) <= set(whole())
    assert len(whole()) == len(FAULTS) * len(PHASES)
