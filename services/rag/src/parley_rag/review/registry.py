"""The assessors, and which of them is used. A new one adds its line."""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from parley_protocol.control import EngineInfo
from parley_protocol.events import Source
from parley_protocol.reviews import ClauseResult
from parley_rag.review import model, playbook
from parley_rag.review.assessor import Assessor, Brief
from parley_rag.review.model import ModelAssessor, ModelSettings
from parley_rag.review.playbook import PlaybookAssessor
from parley_runtime.config import setting
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger(__name__)


class Choice(enum.StrEnum):
    """``auto``: the model where PARLEY_OPENAI_BASE_URL names a server, else the playbook alone."""

    AUTO = "auto"
    PLAYBOOK = "playbook"
    MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSettings:
    """Contract review."""

    assessor: Choice = setting("PARLEY_REVIEW_ASSESSOR", Choice.AUTO, "What judges clauses")
    model: ModelSettings = field(default_factory=ModelSettings)
    kb: str = setting("PARLEY_REVIEW_KB", "playbook", "Knowledge base with the rules of contract review")
    reads: int = setting(
        "PARLEY_REVIEW_READS", 4, "Contracts read and cut side by side", unit="contracts", minimum=1, maximum=64
    )
    jobs: int = setting(
        "PARLEY_REVIEW_JOBS", 4, "Groups of clauses assessed side by side", unit="groups", minimum=1, maximum=256
    )
    group: int = setting("PARLEY_REVIEW_GROUP", 8, "Clauses of one job, at least", unit="clauses", minimum=1)
    fanout: int = setting("PARLEY_REVIEW_FANOUT", 64, "Jobs of one contract, at most", unit="jobs", minimum=1)
    max_clauses: int = setting(
        "PARLEY_REVIEW_MAX_CLAUSES", 20_000, "Clauses of one contract", unit="clauses", minimum=1
    )
    still_s: float = setting(
        "PARLEY_REVIEW_STILL_S",
        180.0,
        "A review of which nothing was heard for so long is sent to the workers again; more than PARLEY_READ_S",
        unit="seconds",
        minimum=1,
    )
    deadline_s: float = setting(
        "PARLEY_REVIEW_DEADLINE_S", 3600.0, "Time for a whole review; then it fails", unit="seconds", minimum=1
    )
    sweep_s: float = setting(
        "PARLEY_REVIEW_SWEEP_S", 15.0, "Time between looks for reviews that stand still", unit="seconds", minimum=0.1
    )


FACTORIES: Mapping[str, Callable[[ReviewSettings], Assessor]] = {
    playbook.NAME: lambda _: PlaybookAssessor(),
    model.NAME: lambda settings: ModelAssessor(settings.model),
}


class Judge:
    """Judges with the chosen assessor; where that one fails, with the embedded one, saying why."""

    def __init__(self, chosen: Assessor) -> None:
        self._chosen = chosen
        self._embedded = PlaybookAssessor()

    async def judge(self, clause: str, rules: Sequence[Source], brief: Brief) -> ClauseResult:
        """The result of one clause. Raises as ``Assessor.assess``, but for an engine's failure."""
        chosen, note = self._chosen, ""
        try:
            verdicts = await chosen.assess(clause, rules, brief)
        except (EngineError, EngineRejected) as error:
            note = f"{chosen.name}: {error}"
            log.warning("assessor failed; the playbook's rules are used alone", assessor=chosen.name, reason=str(error))
            counter(names.REVIEW_FALLBACKS).labels(chosen.name).inc()
            chosen = self._embedded
            verdicts = await chosen.assess(clause, rules, brief)
        return ClauseResult(assessor=chosen.name, verdicts=verdicts, note=note)

    async def close(self) -> None:
        """Close the assessor."""
        await self._chosen.close()


def choose(settings: ReviewSettings) -> tuple[Judge, EngineInfo]:
    """The judge of the settings, and what to say of it. Raises ConfigError."""
    name, why = settings.assessor.value, "PARLEY_REVIEW_ASSESSOR names it"
    if settings.assessor is Choice.AUTO:
        name, why = model.NAME, "PARLEY_OPENAI_BASE_URL names a server; the playbook's rules stand in for it"
        if not settings.model.base_url:
            name, why = playbook.NAME, "the default: judges by the playbook's rules, needs no model"
    chosen = FACTORIES[name](settings)
    log.info("assessor chosen", assessor=name, why=why)
    return Judge(chosen), EngineInfo("review", name, why, settings.model.model if name == model.NAME else "")
