"""Which engine answers, and why."""

from dataclasses import dataclass

from parley_inference.config import AUTO, InferenceSettings
from parley_inference.engine import Generator
from parley_inference.registry import ENGINES
from parley_protocol.control import EngineInfo
from parley_protocol.routes import Stage
from parley_runtime.errors import ConfigError, ParleyError
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine, what to say of it, and how many answers it makes at a time."""

    engine: Generator
    info: EngineInfo
    seats: int


async def choose(settings: InferenceSettings) -> Chosen:
    """Open the engine that the settings name; ``auto`` opens the best one that can be used. Says so in one log line.

    Raises:
        ParleyError: the engine that was named cannot be used; the message says why.
        ConfigError: ``auto`` found none.
    """
    passed_over: list[str] = []
    names = [name for name, entry in ENGINES.items() if entry.auto] if settings.engine == AUTO else [settings.engine]
    for name in names:
        try:
            opened = await ENGINES[name].open(settings.engines)
        except ParleyError as error:
            if settings.engine != AUTO:
                raise
            passed_over.append(f"{name}: {error}")
            continue
        named = "PARLEY_ENGINE names it" if settings.engine != AUTO else opened.why
        why = "; ".join([named, *(f"not {reason}" for reason in passed_over)])
        info = EngineInfo(Stage.GENERATE.value, name, why, opened.engine.model)
        seats = settings.seats or ENGINES[name].seats
        log.info("engine chosen", stage=info.stage, engine=name, model=info.model, why=why, seats=seats)
        return Chosen(opened.engine, info, seats)
    raise ConfigError("no engine can be used: " + "; ".join(passed_over))
