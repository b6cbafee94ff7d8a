"""What has been read of an answer that is spoken, as numbered sentences. Pure.

Text is taken from the answer only as far as it is needed, so a long answer costs no more than a short one.
"""

from collections import deque

from parley_gateway.voice.sentences import Cutter, Sentence


class Script:
    """Whoever holds this feeds what follows ``at``, while it is ``hungry``. ``kept``: sentences that are remembered."""

    def __init__(self, kept: int) -> None:
        self.at = 0
        """Code points read."""
        self._kept = kept
        self._read: list[str] = []
        self._cutter = Cutter()
        self._sentences: deque[tuple[int, Sentence]] = deque()
        self._index = 0
        self._ended = False
        self._starved = True
        """No sentence is whole in what has been read."""

    @property
    def text(self) -> str:
        """What has been read."""
        self._read = ["".join(self._read)]
        return self._read[0]

    @property
    def hungry(self) -> bool:
        """Whether there is no further sentence without more text."""
        return not self._ended and self._starved

    @property
    def over(self) -> bool:
        """Whether no sentence follows."""
        return self._ended and not self._cutter.pending

    def feed(self, text: str) -> None:
        """What follows."""
        self._starved = False
        self._read.append(text)
        self.at += len(text)
        self._cutter.feed(text)

    def end(self) -> None:
        """The answer is whole, and all of it has been fed."""
        self._ended = True
        self._cutter.end()

    def next(self) -> tuple[int, Sentence] | None:
        """The next sentence and its number; None where there is none at present."""
        sentence = self._cutter.next()
        if sentence is None:
            self._starved = True
            return None
        numbered = (self._index, sentence)
        self._index += 1
        self._sentences.append(numbered)
        while len(self._sentences) > self._kept:
            self._sentences.popleft()
        return numbered

    def sentence(self, index: int) -> Sentence | None:
        """The one of that number, while it is remembered."""
        return next((sentence for number, sentence in self._sentences if number == index), None)

    def restart(self, text: str) -> int:
        """The answer is another one: ``text`` so far, which is fed anew from ``at`` on. Sentences that are the same
        stay. Returns the number from which on there are none any more; new ones are numbered on.
        """
        same = _common(self.text, text)
        kept = [(index, sentence) for index, sentence in self._sentences if sentence.end <= same]
        first = kept[-1][0] + 1 if kept else self._first_known
        begin = kept[-1][1].end if kept else 0 if first == 0 else self._sentences[0][1].start
        if begin > same:
            begin = 0
        self._sentences = deque(kept)
        self._read, self.at = [text[:begin]], begin
        self._cutter = Cutter(begin, first=not kept)
        self._ended, self._starved = False, True
        return first

    @property
    def _first_known(self) -> int:
        return self._sentences[0][0] if self._sentences else self._index


def _common(one: str, other: str) -> int:
    """How many code points two texts begin with alike."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
