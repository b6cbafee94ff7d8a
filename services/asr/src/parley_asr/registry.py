"""Every engine there is. A new one is one file in ``engines/`` and its lines here."""

from collections.abc import Callable
from dataclasses import dataclass

from parley_asr.engine import Transcriber
from parley_asr.engines import moonshine, pocketsphinx, scripted, sherpa, whisper
from parley_asr.engines.moonshine import MoonshineSettings, MoonshineTranscriber
from parley_asr.engines.pocketsphinx import PocketsphinxSettings
from parley_asr.engines.scripted import ScriptedSettings, ScriptedTranscriber
from parley_asr.engines.sherpa import SherpaSettings, SherpaTranscriber
from parley_asr.engines.whisper import WhisperSettings, WhisperTranscriber
from parley_runtime.cores import cores


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """One group of settings per engine."""

    moonshine: MoonshineSettings
    pocketsphinx: PocketsphinxSettings
    scripted: ScriptedSettings
    sherpa: SherpaSettings
    whisper: WhisperSettings


@dataclass(frozen=True, slots=True)
class Opened:
    """A usable engine, in a few words why it can be used, and on how many cores its work may run."""

    engine: Transcriber
    why: str
    cores: float


@dataclass(frozen=True, slots=True)
class Registration:
    """``open`` may block, and raises a ParleyError whose message says why the engine cannot be used. ``auto`` engines
    are tried best first, in the order of :data:`ENGINES`.
    """

    open: Callable[[EngineSettings], Opened]
    auto: bool = True


def _moonshine(settings: EngineSettings) -> Opened:
    engine = MoonshineTranscriber(settings.moonshine)
    return Opened(engine, "its model comes with it", cores())


def _pocketsphinx(settings: EngineSettings) -> Opened:
    engine = pocketsphinx.PocketsphinxTranscriber(settings.pocketsphinx)
    engine.start()
    return Opened(engine, "its model comes with it", engine.cores)


def _sherpa(settings: EngineSettings) -> Opened:
    engine = SherpaTranscriber(settings.sherpa)
    return Opened(engine, f"PARLEY_SHERPA_MODEL holds {engine.model}", cores())


def _whisper(settings: EngineSettings) -> Opened:
    engine = WhisperTranscriber(settings.whisper)
    return Opened(engine, f"PARLEY_WHISPER_MODEL names {engine.model}", cores())


def _scripted(settings: EngineSettings) -> Opened:
    return Opened(ScriptedTranscriber(settings.scripted), "it reads tones", cores())


ENGINES: dict[str, Registration] = {
    sherpa.NAME: Registration(_sherpa),
    whisper.NAME: Registration(_whisper),
    moonshine.NAME: Registration(_moonshine),
    pocketsphinx.NAME: Registration(_pocketsphinx),
    scripted.NAME: Registration(_scripted, auto=False),
}
