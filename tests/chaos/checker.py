"""Judges a run from what its clients saw."""

from collections.abc import Iterable

from .history import Happening
from .verdict import Verdict


def judge(happenings: Iterable[Happening]) -> Verdict:
    """The verdict over one run."""
    for _ in happenings:
        pass
    return Verdict()
