"""Every engine there is. A new one is one file in ``engines/`` and its lines here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from parley_inference.engine import Generator
from parley_inference.engines import dify, extractive, openai, scripted
from parley_inference.engines.dify import DifySettings
from parley_inference.engines.extractive import ExtractiveSettings
from parley_inference.engines.openai import OpenAISettings
from parley_inference.engines.scripted import ScriptedSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One group of settings per engine."""

    dify: DifySettings
    extractive: ExtractiveSettings
    openai: OpenAISettings
    scripted: ScriptedSettings


@dataclass(frozen=True, slots=True)
class Opened:
    """A usable engine, and in a few words why it can be used."""

    engine: Generator
    why: str


@dataclass(frozen=True, slots=True)
class Registration:
    """``open`` raises a ParleyError whose message says why the engine cannot be used. ``seats`` is the default number
    of answers at a time. ``auto`` engines are tried best first, in the order of :data:`ENGINES`. ``beside`` ones are
    open in every process, for jobs that name them.
    """

    open: Callable[[EngineSettings], Awaitable[Opened]]
    seats: int
    auto: bool = True
    beside: bool = False


async def _openai(settings: EngineSettings) -> Opened:
    engine = await openai.connect(settings.openai)
    return Opened(engine, f"{settings.openai.base_url} answers")


async def _dify(settings: EngineSettings) -> Opened:
    return Opened(dify.DifyGenerator(settings.dify), f"{settings.dify.base_url}, {settings.dify.mode.value}")


async def _extractive(settings: EngineSettings) -> Opened:
    return Opened(extractive.ExtractiveGenerator(settings.extractive), "it needs no model")


async def _scripted(settings: EngineSettings) -> Opened:
    return Opened(scripted.ScriptedGenerator(settings.scripted), "it repeats a script")


ENGINES: dict[str, Registration] = {
    openai.NAME: Registration(_openai, seats=16),
    extractive.NAME: Registration(_extractive, seats=32),
    scripted.NAME: Registration(_scripted, seats=64, auto=False),
    dify.NAME: Registration(_dify, seats=32, auto=False, beside=True),
}
