"""What has been said of one utterance so far: its finished segments, and the one that is being heard. Pure."""

from collections.abc import Callable

import numpy as np

from parley_asr.engine import Hypothesis, Recognition, Samples
from parley_protocol.audio import Word

OpenRecognition = Callable[[], Recognition]


def joined(texts: list[str]) -> str:
    """Texts of segments as one: a space between them, except between Chinese or Japanese characters."""
    whole = ""
    for text in filter(None, texts):
        close = whole and not (_is_wide(whole[-1]) and _is_wide(text[0]))
        whole += (" " if close else "") + text
    return whole


def _is_wide(character: str) -> bool:
    return character >= "\u2e80"


class Utterance:
    """Segments in order. Times are milliseconds of the stream."""

    def __init__(self, open_: OpenRecognition) -> None:
        self._open = open_
        self._texts: list[str] = []
        self._segment: Recognition | None = None
        self._segment_ms = 0
        self._waiting: list[Samples] = []
        self.words: list[Word] = []
        self.shown = ""

    @property
    def text(self) -> str:
        """Of the finished segments."""
        return joined(self._texts)

    def begin(self, at_ms: int) -> None:
        """A segment whose audio begins at ``at_ms``."""
        self._segment = self._open()
        self._segment_ms = at_ms

    def add(self, frame: Samples) -> None:
        """A frame of the open segment."""
        self._waiting.append(frame)

    def pump(self) -> Hypothesis | None:
        """Give the engine what waits; the utterance's hypothesis, where that may have changed."""
        if self._segment is None or not self._waiting:
            return None
        self._give(self._segment)
        now = self._segment.partial()
        before = self.text
        whole = joined([before, now.text])
        lead = len(whole) - len(now.text)
        return Hypothesis(whole, lead + now.stable if now.stable else len(before))

    def finish(self) -> None:
        """The open segment, if there is one, is over."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            self._give(segment)
            outcome = segment.finish()
        finally:
            segment.close()
        self._texts.append(outcome.text)
        for said in outcome.words:
            start, end = (self._segment_ms + round(at * 1000) for at in (said.start_s, said.end_s))
            self.words.append(Word(said.text, start, end, said.confidence))

    def drop(self) -> None:
        """Give up the open segment."""
        segment, self._segment = self._segment, None
        self._waiting.clear()
        if segment is not None:
            segment.close()

    def _give(self, segment: Recognition) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            segment.feed(np.concatenate(waiting))
