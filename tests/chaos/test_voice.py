"""Faults while somebody speaks: a few telling cells; `./task chaos -- --voice` runs them all."""

from pathlib import Path

import pytest

from .handsfree import cells as handsfree
from .voice import FAULTS, PHASES, TELLING, VoiceMatrix, speaking, whole
from .world.world import WorldOptions, open_world


@pytest.mark.e2e
@pytest.mark.timeout(300)
async def test_a_fault_while_somebody_speaks_breaks_no_promise(tmp_path: Path) -> None:
    async with open_world(speaking(WorldOptions(seed=20, folder=tmp_path))) as world:
        cells = await VoiceMatrix(world).run(TELLING)
        cells += await handsfree.HandsFreeMatrix(world).run(handsfree.TELLING)
    assert [f"{cell.fault} {cell.phase}: {cell.broken}" for cell in cells if cell.broken] == []
    assert len(cells) == len(TELLING) + len(handsfree.TELLING)


@pytest.mark.unit
def test_the_telling_cells_are_cells() -> None:
    assert set(TELLING) <= set(whole())
    assert len(whole()) == len(FAULTS) * len(PHASES)
    assert set(handsfree.TELLING) <= set(handsfree.whole())
    assert len(handsfree.whole()) == len(FAULTS) * len(handsfree.PHASES)
