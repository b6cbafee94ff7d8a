"""Settings of the inference service."""

from dataclasses import dataclass, field

from parley_inference.prepared import PreparedSettings
from parley_inference.registry import ENGINES, EngineSettings
from parley_inference.speech.registry import SpeechSettings
from parley_runtime.answering import EngineChoice
from parley_runtime.config import setting
from parley_runtime.settings import CommonSettings
from parley_runtime.store import StoreOptions
from parley_runtime.worker import WorkerOptions

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSettings:
    """Read once at start."""

    common: CommonSettings
    engine: str = setting(
        "PARLEY_ENGINE", AUTO, f"Engine of the answers: {AUTO} (the best that can be used) or {', '.join(ENGINES)}"
    )
    choice: EngineChoice
    seats: int = setting(
        "PARLEY_SEATS",
        0,
        "Answers made at a time by one process",
        unit="answers",
        zero="the engine's default: "
        + ", ".join(f"{name} {registration.seats}" for name, registration in ENGINES.items()),
        minimum=0,
        maximum=10_000,
    )
    engines: EngineSettings
    worker: WorkerOptions
    store: StoreOptions
    prepared: PreparedSettings = field(default_factory=PreparedSettings)
    speech: SpeechSettings = field(default_factory=SpeechSettings)

    def __post_init__(self) -> None:
        if self.engine not in (AUTO, *ENGINES):
            raise ValueError(f"PARLEY_ENGINE={self.engine!r}: expected one of {', '.join((AUTO, *ENGINES))}")

    @property
    def named(self) -> tuple[str, str]:
        """The engine that the settings name, or ``auto``, and the setting that does."""
        if self.choice.rag_engine:
            return self.choice.rag_engine, "RAG_ENGINE"
        return self.engine, "PARLEY_ENGINE"
