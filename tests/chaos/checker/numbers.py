"""The numbers of one view's frames: which one is next, which ones are missing."""

from collections.abc import Iterator

MOST_HOLES = 1000
"""Frames missing at one place that are remembered one by one."""


class Numbers:
    """``expected`` None: any number may come first. ``resumed``: nothing has come since the socket resumed."""

    def __init__(self) -> None:
        self.expected: int | None = 0
        self.resumed = False
        self._holes: dict[int, str] = {}

    def begin(self, expected: int | None, *, resumed: bool = False) -> None:
        """A new view. Call :meth:`settle` before."""
        self.expected = expected
        self.resumed = resumed

    def take(self, seq: int) -> str:
        """The rule that the frame breaks, or "". ``repeated`` and ``replayed`` frames are to be left out."""
        resumed, self.resumed = self.resumed, False
        expected = seq if self.expected is None else self.expected
        if seq < expected:
            if self._holes.pop(seq, None) is not None:
                return "reordered"
            return "replayed" if resumed else "repeated"
        for number in range(expected, min(seq, expected + MOST_HOLES)):
            self._holes[number] = "unsaid-gap" if resumed else "missing"
        self.expected = seq + 1
        return ""

    def settle(self) -> Iterator[tuple[str, str]]:
        """What was missing and did not come: rule and numbers."""
        if not self._holes:
            return
        for rule in sorted(set(self._holes.values())):
            yield rule, ranges([number for number, each in self._holes.items() if each == rule])
        self._holes.clear()


def ranges(numbers: list[int]) -> str:
    """``3, 5 to 7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in parts)
