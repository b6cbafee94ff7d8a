"""Which engine answers where Dify is in play: settings that gateways, rag and inference processes read alike."""

from dataclasses import dataclass

from parley_runtime.config import setting

DIFY = "dify"
RETRIEVING = frozenset({DIFY})
"""Engines that retrieve by themselves: the knowledge bases here are not searched for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """For every dialect."""

    rag_engine: str = setting(
        "RAG_ENGINE",
        "",
        f"Engine of every dialect's answers, above PARLEY_ENGINE: {DIFY}; empty: PARLEY_ENGINE decides",
    )

    def __post_init__(self) -> None:
        if self.rag_engine not in ("", DIFY):
            raise ValueError(f"RAG_ENGINE={self.rag_engine!r}: expected {DIFY}, or nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrEngineChoice:
    """For the realtime ASR dialect alone."""

    mock: bool | None = setting(
        "USE_MOCK_RAG",
        None,
        "Engine of the realtime ASR dialect's answers: 1 Parley's own, 0 Dify; empty: Dify where DIFY_API_KEY is set",
    )
    key: str = setting("DIFY_API_KEY", "", "Key of the Dify application", secret=True)


def asr_engine(every: EngineChoice, asr: AsrEngineChoice) -> tuple[str, str]:
    """The engine's name for the realtime ASR dialect ("": the same as everybody's), and why."""
    if every.rag_engine:
        over = " (USE_MOCK_RAG=1 does not count)" if asr.mock else ""
        return every.rag_engine, f"RAG_ENGINE={every.rag_engine}{over}"
    if asr.mock is None:
        return (DIFY, "DIFY_API_KEY is set") if asr.key else ("", "neither USE_MOCK_RAG nor DIFY_API_KEY is set")
    return ("", "USE_MOCK_RAG=1") if asr.mock else (DIFY, "USE_MOCK_RAG=0")
