"""The labelled set, the judgement of the embedded assessor on it, and how the two are compared."""

from dataclasses import dataclass, field
from pathlib import Path

from parley_rag.documents import Limits
from parley_rag.ingest import Request, prepare
from parley_rag.retrieval import EmbeddedRetriever
from parley_rag.review.assessor import Brief
from parley_rag.review.parties import USUAL, Facts, Side
from parley_rag.review.playbook import PlaybookAssessor
from parley_rag.review.rules import RuleFinder
from parley_runtime.store.ports import StoredPassage

ROOT = Path(__file__).resolve().parent.parent.parent
SIDES = ("buyer", "seller")
SETS = ("tuned", "held_out", "second", "third")
TITLES = {
    "责任免除与限制": "liability",
    "Exclusion of liability": "liability",
    "预付款": "prepayment",
    "Prepayment": "prepayment",
    "争议管辖": "jurisdiction",
    "Jurisdiction": "jurisdiction",
    "单方变更": "change",
    "Unilateral change": "change",
    "违约金": "penalty",
    "Penalty": "penalty",
    "合同解除": "termination",
    "Termination": "termination",
    "视为验收": "acceptance",
    "Deemed acceptance": "acceptance",
}
RULES = tuple(dict.fromkeys(TITLES.values()))


@dataclass
class Clause:
    """One line of the set."""

    clause: str
    wanted: dict[str, set[str]]
    found: dict[str, set[str]] = field(default_factory=dict)

    @property
    def language(self) -> str:
        return "en" if self.clause.isascii() else "zh"


@dataclass
class Figures:
    """Right, found wrongly, missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.right / ((self.right + self.wrong) or 1)

    @property
    def recall(self) -> float:
        return self.right / ((self.right + self.missed) or 1)


def load(name: str) -> list[Clause]:
    clauses = []
    for line in (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        buyer, seller, text = (part.strip() for part in line.split("|", 2))
        clauses.append(Clause(text, {"buyer": set(buyer.split()), "seller": set(seller.split())}))
    unknown = {rule for one in clauses for rules in one.wanted.values() for rule in rules} - set(RULES)
    assert not unknown, unknown
    return clauses


class Playbook:
    """The sample playbook in a retriever and, as far as ``RuleFinder`` asks, a store."""

    def __init__(self) -> None:
        self.retriever = EmbeddedRetriever()
        self._passages: dict[str, tuple[StoredPassage, ...]] = {}

    async def load(self) -> None:
        for path in sorted((ROOT / "sample" / "playbook").rglob("*.md")):
            name = path.relative_to(ROOT).as_posix()
            prepared = prepare(Request("playbook", name, "", path.read_bytes(), Limits()))
            passages = tuple(
                StoredPassage(id=one.id, title=one.title, text=one.text, start=one.start, end=one.end)
                for one in prepared.passages
            )
            self._passages[name] = passages
            await self.retriever.upsert("default", "playbook", name, prepared.title, passages)

    async def passages(self, _tenant: str, _kb: str, path: str) -> tuple[StoredPassage, ...]:
        return self._passages[path]


async def judge(clauses: list[Clause]) -> list[Clause]:
    """Fills in what the assessor finds."""
    playbook = Playbook()
    await playbook.load()
    finder = RuleFinder(playbook.retriever, playbook, "default", "playbook")  # type: ignore[arg-type]  # all it asks
    assessor = PlaybookAssessor()
    for one in clauses:
        rules = await finder.rules(one.clause)
        for side in SIDES:
            brief = Brief(contract_type="purchase", role=side, side=Side(side), facts=Facts(dict(USUAL)))
            verdicts = await assessor.assess(one.clause, rules, brief)
            one.found[side] = {TITLES[verdict.rule.title] for verdict in verdicts if verdict.rule is not None}
    return clauses


def count(judged: list[Clause], rule: str = "", language: str = "", side: str = "") -> Figures:
    figures = Figures()
    for one in judged:
        if language not in ("", one.language):
            continue
        for of in SIDES:
            if side not in ("", of):
                continue
            for name in RULES if not rule else (rule,):
                wanted, found = name in one.wanted[of], name in one.found[of]
                figures.right += wanted and found
                figures.wrong += found and not wanted
                figures.missed += wanted and not found
    return figures


def table(judged: list[Clause]) -> str:
    lines = ["| rule | zh precision | zh recall | en precision | en recall |", "|---|---|---|---|---|"]
    for rule in (*RULES, ""):
        cells = []
        for language in ("zh", "en"):
            figures = count(judged, rule, language)
            cells += [
                f"{figures.precision:.2f} ({figures.right}/{figures.right + figures.wrong})",
                f"{figures.recall:.2f} ({figures.right}/{figures.right + figures.missed})",
            ]
        lines.append(f"| {rule or 'all'} | {' | '.join(cells)} |")
    return "\n".join(lines)
