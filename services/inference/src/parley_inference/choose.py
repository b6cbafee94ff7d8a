"""Which engine answers, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parley_inference.config import AUTO, InferenceSettings
from parley_inference.engine import Generator
from parley_inference.registry import ENGINES
from parley_protocol.control import EngineInfo
from parley_protocol.routes import Stage
from parley_runtime.choosing import first_usable
from parley_runtime.errors import ConfigError, EngineRejected
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine, what to say of it, and how many answers a process makes at a time. ``beside``: others, by name, for
    jobs that name them.
    """

    engine: Generator
    info: EngineInfo
    seats: int
    beside: Mapping[str, Generator] = field(default_factory=dict)

    def of(self, name: str) -> Generator:
        """The engine for a job that names ``name`` ("": none). Raises EngineRejected where it is not open here."""
        if name in ("", self.info.name):
            return self.engine
        try:
            return self.beside[name]
        except KeyError:
            raise EngineRejected(f"no inference process here has the engine {name[:40]!r}") from None

    async def close(self) -> None:
        """Close all of them."""
        for engine in (self.engine, *self.beside.values()):
            await engine.close()


async def choose(settings: InferenceSettings) -> Chosen:
    """Open the engine that the settings name; ``auto`` opens the best one that can be used. Says so in one log line.

    Raises:
        ParleyError: the engine that was named cannot be used; the message says why.
        ConfigError: ``auto`` found none.
    """
    wanted, setting = settings.named
    named = wanted != AUTO
    found = await first_usable(
        [wanted] if named else [name for name, entry in ENGINES.items() if entry.auto],
        lambda name: ENGINES[name].open(settings.engines),
        because=lambda opened: opened.why,
        setting=setting if named else "",
    )
    if isinstance(found, str):
        raise ConfigError(f"no engine can be used: {found}")
    engine = found.opened.engine
    info = EngineInfo(Stage.GENERATE.value, found.name, found.why, engine.model)
    seats = settings.seats or ENGINES[found.name].seats
    log.info("engine chosen", stage=info.stage, engine=info.name, model=info.model, why=info.why, seats=seats)
    return Chosen(engine, info, seats, await _beside(settings, found.name))


async def _beside(settings: InferenceSettings, chosen: str) -> dict[str, Generator]:
    opened: dict[str, Generator] = {}
    for name, entry in ENGINES.items():
        if entry.beside and name != chosen:
            found = await entry.open(settings.engines)
            opened[name] = found.engine
            log.info("engine beside", stage=Stage.GENERATE.value, engine=name, model=found.engine.model, why=found.why)
    return opened
