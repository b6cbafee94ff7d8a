"""Every synthesizer there is, and which one speaks. A new one is one file here and its lines below."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from parley_inference.openai_server import shown
from parley_inference.speech import espeak, openai, tone
from parley_inference.speech.espeak import EspeakSettings
from parley_inference.speech.openai import OpenAISpeechSettings
from parley_inference.speech.synthesizer import Synthesizer
from parley_inference.speech.tone import ToneSettings
from parley_protocol.control import EngineInfo
from parley_protocol.routes import Stage
from parley_runtime.choosing import first_usable
from parley_runtime.config import setting
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

AUTO = "auto"
OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizerSettings:
    """One group of settings per synthesizer."""

    espeak: EspeakSettings = field(default_factory=EspeakSettings)
    openai: OpenAISpeechSettings = field(default_factory=OpenAISpeechSettings)
    tone: ToneSettings = field(default_factory=ToneSettings)


@dataclass(frozen=True, slots=True)
class Opened:
    """A usable synthesizer, and in a few words why it can be used."""

    synthesizer: Synthesizer
    why: str


@dataclass(frozen=True, slots=True)
class Registration:
    """``open`` raises a ParleyError that says why it cannot be used. ``seats``: sentences at a time by default.
    ``auto`` ones are tried best first, in the order of :data:`SYNTHESIZERS`.
    """

    open: Callable[[SynthesizerSettings], Awaitable[Opened]]
    seats: int
    auto: bool = True


async def _openai(settings: SynthesizerSettings) -> Opened:
    engine = await openai.connect(settings.openai)
    return Opened(engine, f"{shown(settings.openai.base_url)} answers")


async def _espeak(settings: SynthesizerSettings) -> Opened:
    return Opened(espeak.EspeakSynthesizer(settings.espeak), "it needs no model")


async def _tone(settings: SynthesizerSettings) -> Opened:
    return Opened(tone.ToneSynthesizer(settings.tone), "it plays a tone for each character")


SYNTHESIZERS: dict[str, Registration] = {
    openai.NAME: Registration(_openai, seats=8),
    espeak.NAME: Registration(_espeak, seats=8),
    tone.NAME: Registration(_tone, seats=32, auto=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSettings:
    """The speaking stage."""

    engine: str = setting(
        "PARLEY_SPEECH_ENGINE",
        AUTO,
        f"Engine of speech: {AUTO} (the best that can be used), {', '.join(SYNTHESIZERS)} or {OFF}",
    )
    seats: int = setting(
        "PARLEY_SPEECH_SEATS",
        0,
        "Sentences spoken at a time by one process",
        unit="sentences",
        zero="the engine's default: " + ", ".join(f"{name} {entry.seats}" for name, entry in SYNTHESIZERS.items()),
        minimum=0,
        maximum=1000,
    )
    max_text: int = setting(
        "PARLEY_SPEECH_MAX_TEXT", 1000, "Longest text of one sentence to be spoken", unit="characters", minimum=10
    )
    first_ms: int = setting(
        "PARLEY_SPEECH_FIRST_MS",
        60,
        "Audio of a sentence's first part, which is short so that it is early",
        unit="milliseconds",
        minimum=10,
        maximum=1000,
    )
    part_ms: int = setting(
        "PARLEY_SPEECH_PART_MS",
        300,
        "Audio of each further part of a sentence",
        unit="milliseconds",
        minimum=20,
        maximum=2000,
    )
    synthesizers: SynthesizerSettings = field(default_factory=SynthesizerSettings)

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, OFF, *SYNTHESIZERS):
            expected = ", ".join((AUTO, OFF, *SYNTHESIZERS))
            raise ValueError(f"PARLEY_SPEECH_ENGINE={self.engine!r}: expected one of {expected}")


@dataclass(frozen=True, slots=True)
class Voice:
    """The synthesizer that speaks, what to say of it, and how many sentences at a time."""

    synthesizer: Synthesizer
    info: EngineInfo
    seats: int


async def choose_voice(settings: SpeechSettings) -> Voice | None:
    """Open the synthesizer that the settings name; ``auto`` opens the best one that can be used. None: nobody speaks in
    this process. One log line says which, and why.

    Raises:
        ParleyError: the one that was named cannot be used; the message says why.
    """
    stage, wanted = Stage.SPEAK.value, settings.engine
    if wanted == OFF:
        log.info("engine chosen", stage=stage, engine=OFF, why="PARLEY_SPEECH_ENGINE names it")
        return None
    named = wanted != AUTO
    found = await first_usable(
        [wanted] if named else [name for name, entry in SYNTHESIZERS.items() if entry.auto],
        lambda name: SYNTHESIZERS[name].open(settings.synthesizers),
        because=lambda opened: opened.why,
        setting="PARLEY_SPEECH_ENGINE" if named else "",
    )
    if isinstance(found, str):
        log.warning("nobody speaks in this process", stage=stage, why=found)
        return None
    info = EngineInfo(stage, found.name, found.why, found.opened.synthesizer.model)
    seats = settings.seats or SYNTHESIZERS[found.name].seats
    log.info("engine chosen", stage=stage, engine=info.name, model=info.model, why=info.why, seats=seats)
    return Voice(found.opened.synthesizer, info, seats)
