"""Recognition by an engine that hears a segment whole, in windows of 30 seconds at most.

Partial results hear the segment so far anew, at fixed places of its audio, and are certain where two in a row agree; so
the outcome depends on the samples alone.
"""

from dataclasses import dataclass

import numpy as np

from parley_asr.agreement import Agreement, pieces
from parley_asr.batching import Batcher
from parley_asr.engine import RATE, Hint, Hypothesis, Outcome, Said, Samples

WINDOW_S = 30
SPARSER = 3
"""Of a long segment partial results are a third of its length apart: each hears all of it anew, and the work for one
that has no pause would grow with the square of its length, and hold up whoever shares the model.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """Up to 30 seconds that are to be heard."""

    audio: Samples
    language: str
    prompt: str
    words: bool
    """Whether the places of words are asked for."""


class WindowRecognition:
    """See ``engine.Recognition``. ``step``: samples between two partial results, at least; 0: none."""

    def __init__(self, batcher: Batcher[Window, Outcome], hint: Hint, step: int) -> None:
        self._batcher = batcher
        self._hint = hint
        self._step = step
        self._heard: list[Samples] = []
        self._size = 0
        self._due = step
        """Samples of the window at which the next partial result is due."""
        self._agreement = Agreement()
        self._now: list[str] = []
        self._before = ""
        self._words: list[Said] = []
        self._offset_s = 0.0
        self._closed = False
        batcher.enter()

    def feed(self, samples: Samples) -> None:
        """See ``engine.Recognition``. Works at the same places of the window and at its end, wherever ``samples`` were
        cut.
        """
        while samples.size:
            limit = WINDOW_S * RATE
            if self._step:
                limit = min(limit, self._due)
            part, samples = samples[: limit - self._size], samples[limit - self._size :]
            self._heard.append(part)
            self._size += part.size
            if self._size == WINDOW_S * RATE:
                self._window_over()
            elif self._size == limit:
                self._now = self._agreement.update(pieces(self._hear(words=False).text))
                self._due = self._size + max(self._step, self._size // SPARSER)

    def partial(self) -> Hypothesis:
        """See ``engine.Recognition``."""
        certain = "".join(self._agreement.certain).strip()
        text = "".join(self._now).strip()
        lead = self._before + (" " if self._before and text else "")
        return Hypothesis(lead + text, len(lead) + len(certain) if certain else len(self._before))

    def finish(self) -> Outcome:
        """See ``engine.Recognition``."""
        if self._size:
            self._window_over()
        return Outcome(self._before, tuple(self._words))

    def close(self) -> None:
        """See ``engine.Recognition``."""
        self._heard.clear()
        if not self._closed:
            self._closed = True
            self._batcher.leave()

    def _window_over(self) -> None:
        outcome = self._hear(words=True)
        text = "".join(self._agreement.finish(pieces(outcome.text))).strip()
        self._before = " ".join(filter(None, (self._before, text)))
        self._words += [
            Said(one.text, one.start_s + self._offset_s, one.end_s + self._offset_s, one.confidence)
            for one in outcome.words
        ]
        self._offset_s += self._size / RATE
        self._heard, self._size, self._agreement, self._now = [], 0, Agreement(), []
        self._due = self._step

    def _hear(self, *, words: bool) -> Outcome:
        whole = np.concatenate(self._heard)
        self._heard = [whole]
        return self._batcher.ask(Window(whole, self._hint.language, self._hint.prompt, words))
