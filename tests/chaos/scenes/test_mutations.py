"""Every mechanism of the turn protocol is needed, and the checker would miss it: each scenario passes as Parley is, and
fails with the mechanism switched off, by the rule that stands for it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from ..checker.checker import judge
from ..inside.mutations import MUTATIONS
from ..world.world import World, WorldOptions, open_world
from .scenarios import SCENARIOS, SHOWS, Played, Show, play

pytestmark = pytest.mark.e2e

NAMED_BY_THE_PROTOCOL = {
    "no-fence-test",
    "no-again",
    "no-begin",
    "no-watch",
    "no-submission-test",
    "no-reconciliation",
}
WHOLE_S = 20.0
"""Patience with Parley as it is."""
BROKEN_S = 4.0
"""Patience with one that may never answer: twice the silence after which a gateway asks by itself."""


@dataclass(frozen=True)
class Theatre:
    """``switch`` holds the name of the mutation that is on in all processes."""

    world: World
    switch: Path

    async def play(self, scenario: str, mutation: str = "") -> Played:
        """With ``mutation`` on from before the first frame until the world is steady again."""
        self.switch.write_text(mutation, encoding="ascii")
        try:
            return await play(self.world, scenario, wait_s=BROKEN_S if mutation else WHOLE_S)
        finally:
            self.switch.write_text("", encoding="ascii")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theatre(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Theatre]:
    """Two of each process, with every mutation built in and none on."""
    folder = tmp_path_factory.mktemp("mutations")
    switch = folder / "mutation"
    switch.write_text("", encoding="ascii")
    async with open_world(WorldOptions(folder=folder, mutation=str(switch))) as world:
        yield Theatre(world, switch)


def test_every_mutation_is_shown() -> None:
    assert {show.mutation for show in SHOWS} == set(MUTATIONS)
    assert set(MUTATIONS) >= NAMED_BY_THE_PROTOCOL


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_whole_parley_survives(theatre: Theatre, scenario: str) -> None:
    played = await theatre.play(scenario)
    assert played.stuck == "", theatre.world.tails()
    verdict = judge(played.history.happenings)
    assert verdict.ok, "\n".join(map(str, verdict.violations)) + "\n" + theatre.world.tails()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("show", SHOWS, ids=lambda show: f"{show.mutation}-{show.scenario}")
async def test_without_its_mechanism_it_does_not(theatre: Theatre, show: Show) -> None:
    played = await theatre.play(show.scenario, show.mutation)
    broken = {violation.rule for violation in judge(played.history.happenings).violations}
    assert show.rule in broken, f"{broken or 'nothing'}; {played.stuck}\n{theatre.world.tails()}"
