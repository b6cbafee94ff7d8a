"""Settings of the rag service."""

from dataclasses import dataclass, field

from parley_rag.data.desk import DataSettings
from parley_rag.intake import IntakeOptions
from parley_rag.notifier import NotifierOptions
from parley_rag.retention import RetentionOptions
from parley_rag.review.registry import ReviewSettings
from parley_rag.sweeper import SweeperOptions
from parley_runtime.answering import EngineChoice
from parley_runtime.config import setting
from parley_runtime.settings import CommonSettings
from parley_runtime.store import StoreOptions
from parley_runtime.work.options import WorkerOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RagSettings:
    """Retrieval, prompt, ingestion."""

    common: CommonSettings = field(default_factory=CommonSettings)
    store: StoreOptions = field(default_factory=StoreOptions)
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    intake: IntakeOptions = field(default_factory=IntakeOptions)
    sweeper: SweeperOptions = field(default_factory=SweeperOptions)
    notifier: NotifierOptions = field(default_factory=NotifierOptions)
    retention: RetentionOptions = field(default_factory=RetentionOptions)
    review: ReviewSettings = field(default_factory=ReviewSettings)
    data: DataSettings = field(default_factory=DataSettings)
    engine: EngineChoice = field(default_factory=EngineChoice)
    seats: int = setting(
        "PARLEY_RETRIEVE_SEATS", 32, "Questions worked on at a time", unit="questions", minimum=1, maximum=1000
    )
    passages: int = setting(
        "PARLEY_PASSAGES", 5, "Passages offered to an answer", unit="passages", minimum=1, maximum=50
    )
    min_score: float = setting(
        "PARLEY_MIN_SCORE",
        0.08,
        "Share of a question that a passage must meet to be offered to an answer; unrelated ones score up to 0.1",
        zero="whatever matches at all is offered",
        minimum=0,
        maximum=1,
    )
    history_turns: int = setting(
        "PARLEY_HISTORY_TURNS",
        6,
        "Earlier turns read for follow-up questions and the prompt",
        unit="turns",
        zero="every question stands alone",
        minimum=0,
        maximum=100,
    )
    history_chars: int = setting(
        "PARLEY_HISTORY_CHARS",
        6_000,
        "Characters of earlier messages in a prompt",
        unit="code points",
        zero="none",
        minimum=0,
        maximum=1_000_000,
    )
    poll_s: float = setting(
        "PARLEY_INDEX_POLL_S",
        0.25,
        "Time between looks for changed documents",
        unit="seconds",
        minimum=0.01,
        maximum=60,
    )
    max_document: int = setting(
        "PARLEY_MAX_DOCUMENT", 12 * 1024 * 1024, "Largest document", unit="bytes", minimum=1, maximum=100 * 1024 * 1024
    )
    max_pages: int = setting("PARLEY_MAX_PAGES", 5_000, "Pages of a PDF", unit="pages", minimum=1)
    read_s: float = setting(
        "PARLEY_READ_S",
        100.0,
        "Time to read one document; a PDF needs about 0.15 a page",
        unit="seconds",
        minimum=1,
        maximum=1500,
    )
    read_memory: int = setting(
        "PARLEY_READ_MEMORY",
        2 * 1024**3,
        "Memory of the process that reads one PDF, DOCX or large document",
        unit="bytes",
        minimum=256 * 1024**2,
    )
    read_at_once: int = setting(
        "PARLEY_READ_AT_ONCE", 2, "Documents read side by side", unit="documents", minimum=1, maximum=64
    )
