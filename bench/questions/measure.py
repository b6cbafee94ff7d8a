"""Precision and recall of question detection on a labelled set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SETS = {
    "development": FOLDER / "development.tsv",
    "held out": FOLDER / "held_out.tsv",
    "second": FOLDER / "second.tsv",
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """``kind``: what sort of utterance, and of which language (zh, en, mixed)."""

    text: str
    kind: str
    question: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """``missed`` questions and ``mistaken`` others, of ``size`` utterances with ``questions`` questions."""

    size: int
    questions: int
    missed: tuple[Utterance, ...]
    mistaken: tuple[Utterance, ...]

    @property
    def recall(self) -> float:
        return (self.questions - len(self.missed)) / self.questions

    @property
    def precision(self) -> float:
        found = self.questions - len(self.missed)
        return found / (found + len(self.mistaken))


def read(path: Path) -> list[Utterance]:
    """The utterances of a file: label, kind and text in columns, comments behind ``#``."""
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [Utterance(text, kind, {"q": True, "s": False}[label]) for label, kind, text in rows]


def measure(utterances: Sequence[Utterance], judge: Callable[[str], bool]) -> Figures:
    """What ``judge`` makes of them."""
    missed = tuple(each for each in utterances if each.question and not judge(each.text))
    mistaken = tuple(each for each in utterances if not each.question and judge(each.text))
    return Figures(len(utterances), sum(each.question for each in utterances), missed, mistaken)
