"""Which engine listens, and why."""

import asyncio
from dataclasses import dataclass

from parley_asr import measure
from parley_asr.config import AUTO, AsrSettings, VadChoice
from parley_asr.engine import Transcriber
from parley_asr.registry import ENGINES, Opened
from parley_asr.silero import SileroModel
from parley_asr.vad import EnergyModel, VadModel
from parley_protocol.control import EngineInfo
from parley_protocol.routes import Stage
from parley_runtime.choosing import first_usable
from parley_runtime.errors import ConfigError
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The engine, what to say of it, and how many streams a process listens to at a time."""

    engine: Transcriber
    info: EngineInfo
    seats: int

    async def close(self) -> None:
        """Close it."""
        await asyncio.to_thread(self.engine.close)


async def choose(settings: AsrSettings) -> Chosen:
    """Open the engine that the settings name; ``auto`` opens the best one that can be used. Says so in one log line.

    Raises:
        ParleyError: the engine that was named cannot be used; the message says why.
        ConfigError: ``auto`` found none.
    """
    named = settings.engine != AUTO
    found = await first_usable(
        [settings.engine] if named else [name for name, entry in ENGINES.items() if entry.auto],
        lambda name: asyncio.to_thread(ENGINES[name].open, settings.engines),
        because=lambda opened: opened.why,
        setting="PARLEY_ASR_ENGINE" if named else "",
    )
    if isinstance(found, str):
        raise ConfigError(f"no engine can be used: {found}")
    return await _measured(settings, found.opened, found.why)


async def _measured(settings: AsrSettings, opened: Opened, why: str) -> Chosen:
    engine = opened.engine
    factor, seats = 0.0, settings.seats
    if not seats:
        factor = await asyncio.to_thread(measure.factor, engine)
        seats = measure.seats(factor, opened.cores / settings.sharing, settings.headroom, settings.most_seats)
    info = EngineInfo(Stage.LISTEN.value, engine.name, why, engine.model)
    log.info(
        "engine chosen",
        stage=info.stage,
        engine=info.name,
        model=info.model,
        why=why,
        seats=seats,
        factor=round(factor, 3),
    )
    return Chosen(engine, info, seats)


async def choose_vad(settings: AsrSettings) -> VadModel:
    """The detector that the settings name; ``auto``: silero, or the loudness where that cannot be used.

    Raises:
        ConfigError: silero was named and cannot be used.
    """
    if settings.vad is VadChoice.ENERGY:
        return EnergyModel()
    try:
        return await asyncio.to_thread(SileroModel, settings.vad_batch)
    except (ImportError, ConfigError) as error:
        if settings.vad is VadChoice.SILERO:
            raise ConfigError(f"PARLEY_ASR_VAD=silero: {error}") from error
        log.warning("speech is told by its loudness", reason=str(error))
        return EnergyModel()
