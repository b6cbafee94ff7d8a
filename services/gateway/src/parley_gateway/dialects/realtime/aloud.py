"""How far the text of a spoken item has been given as audio. Pure."""

from dataclasses import dataclass, field

from parley_gateway.dialects.realtime.faults import Unfit


@dataclass(frozen=True, slots=True)
class Given:
    """A piece of an answer's audio, from ``begin_ms`` to ``end_ms`` of it: when it has been heard, ``at`` code points
    of the answer have.
    """

    sentence: int
    begin_ms: int
    end_ms: int
    at: int


@dataclass(slots=True)
class Aloud:
    """Of one item of ``response``, whose text begins ``origin`` code points into the answer. ``ms``: all so far."""

    response: str
    origin: int = 0
    ms: int = 0
    _begin_ms: int = -1
    _sentence: int = -1
    _ends: list[tuple[int, int]] = field(default_factory=list)
    """(milliseconds, code points) of the item where a sentence ends, or has come so far."""

    def give(self, piece: Given) -> None:
        """More of it."""
        if self._begin_ms < 0:
            self._begin_ms = piece.begin_ms
        self.ms = max(0, piece.end_ms - self._begin_ms)
        end = (self.ms, max(0, piece.at - self.origin))
        if piece.sentence == self._sentence:
            self._ends[-1] = end
        else:
            self._sentence = piece.sentence
            self._ends.append(end)

    def check(self, heard_ms: int) -> None:
        """Raises Unfit where there is not so much of it."""
        if heard_ms > self.ms:
            raise Unfit(f"Audio content of {self.ms}ms is already shorter than {heard_ms}ms", param="audio_end_ms")

    def heard(self, heard_ms: int) -> int:
        """Code points of the item that have been said by then; within a sentence, at an even pace."""
        ms = at = 0
        for end_ms, end in self._ends:
            if heard_ms < end_ms:
                return at + max(0, end - at) * (heard_ms - ms) // (end_ms - ms)
            ms, at = end_ms, end
        return at


def heard_of(text: str, heard: int) -> str:
    """The first ``heard`` code points of a text, to a word's end (of Chinese: a character's)."""
    if heard >= len(text):
        return text
    end = max(0, heard)
    while end and text[end - 1].isascii() and not text[end - 1].isspace() and not text[end].isspace():
        end -= 1
    return text[:end].rstrip()
