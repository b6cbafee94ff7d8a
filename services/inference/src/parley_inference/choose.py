"""Which engine answers, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parley_inference.config import AUTO, InferenceSettings
from parley_inference.engine import Generator
from parley_inference.registry import ENGINES
from parley_protocol.control import EngineInfo
from parley_protocol.routes import Stage
from parley_runtime.errors import ConfigError, EngineRejected, ParleyError
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
    passed_over: list[str] = []
    wanted, setting = settings.named
    names = [name for name, entry in ENGINES.items() if entry.auto] if wanted == AUTO else [wanted]
    for name in names:
        try:
            opened = await ENGINES[name].open(settings.engines)
        except ParleyError as error:
            if wanted != AUTO:
                raise
            passed_over.append(f"{name}: {error}")
            continue
        named = f"{setting} names it" if wanted != AUTO else opened.why
        why = "; ".join([named, *(f"not {reason}" for reason in passed_over)])
        info = EngineInfo(Stage.GENERATE.value, name, why, opened.engine.model)
        seats = settings.seats or ENGINES[name].seats
        log.info("engine chosen", stage=info.stage, engine=name, model=info.model, why=why, seats=seats)
        return Chosen(opened.engine, info, seats, await _beside(settings, name))
    raise ConfigError("no engine can be used: " + "; ".join(passed_over))


async def _beside(settings: InferenceSettings, chosen: str) -> dict[str, Generator]:
    opened: dict[str, Generator] = {}
    for name, entry in ENGINES.items():
        if entry.beside and name != chosen:
            found = await entry.open(settings.engines)
            opened[name] = found.engine
            log.info("engine beside", stage=Stage.GENERATE.value, engine=name, model=found.engine.model, why=found.why)
    return opened
