"""Settings of the listening service."""

import enum
from dataclasses import dataclass

from parley_asr.options import ListenOptions
from parley_asr.registry import ENGINES, EngineSettings
from parley_runtime.config import setting
from parley_runtime.settings import CommonSettings
from parley_runtime.store import StoreOptions

AUTO = "auto"


class VadChoice(enum.StrEnum):
    """What tells speech from silence."""

    AUTO = "auto"
    SILERO = "silero"
    ENERGY = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrSettings:
    """Read once at start."""

    common: CommonSettings
    engine: str = setting(
        "PARLEY_ASR_ENGINE", AUTO, f"Engine that listens: {AUTO} (the best that can be used) or {', '.join(ENGINES)}"
    )
    seats: int = setting(
        "PARLEY_ASR_SEATS",
        0,
        "Streams that one process listens to at a time",
        unit="streams",
        zero="as many as its engine is measured to keep up with at start, on the cores that this process may use",
        minimum=0,
        maximum=10_000,
    )
    headroom: float = setting(
        "PARLEY_ASR_HEADROOM",
        0.7,
        "Share of the measured capacity that seats are made of",
        minimum=0.05,
        maximum=10,
    )
    sharing: int = setting(
        "PARLEY_ASR_SHARING",
        1,
        "Processes that listen on the same cores, this one among them: each has its part of the seats",
        unit="processes",
        minimum=1,
    )
    most_seats: int = setting(
        "PARLEY_ASR_MOST_SEATS", 64, "Seats that a measurement may give at most", unit="streams", minimum=1
    )
    vad: VadChoice = setting(
        "PARLEY_ASR_VAD",
        VadChoice.AUTO,
        "What tells speech from silence: silero (a small neural network), energy (the loudness), or the best there is",
    )
    vad_batch: int = setting(
        "PARLEY_ASR_VAD_BATCH",
        16,
        "Streams whose speech silero tells from silence in one call, where this processor then finds exactly the same",
        unit="streams",
        minimum=1,
        maximum=64,
    )
    engines: EngineSettings
    options: ListenOptions
    store: StoreOptions

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, *ENGINES):
            raise ValueError(f"PARLEY_ASR_ENGINE={self.engine!r}: expected one of {', '.join((AUTO, *ENGINES))}")
