"""What of a hypothesis is certain: what two in a row agree on (LocalAgreement-2). Pure.

For engines that hear the whole segment anew each time. What has once been agreed on stays, also where a later
hypothesis, the last one included, says otherwise.
"""

import re
from collections.abc import Sequence

_PIECE = re.compile(r"\s*(?:[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\u9fff\uac00-\ud7af]+)")


def pieces(text: str) -> list[str]:
    """Words with the space before them; Chinese, Japanese and Korean characters one by one."""
    return _PIECE.findall(text)


class Agreement:
    """Of one segment."""

    def __init__(self) -> None:
        self.certain: list[str] = []
        self._before: Sequence[str] = ()

    def update(self, now: Sequence[str]) -> list[str]:
        """One more hypothesis; returns it with what was certain already in its place."""
        whole = self.finish(now)
        agreed = 0
        for before, word in zip(self._before, whole, strict=False):
            if before != word:
                break
            agreed += 1
        if agreed > len(self.certain):
            self.certain = whole[:agreed]
        self._before = whole
        return whole

    def finish(self, now: Sequence[str]) -> list[str]:
        """The last hypothesis: what is certain, and how it goes on."""
        return [*self.certain, *now[len(self.certain) :]]
