"""Speech found in the audio of several streams at once: their frames are scored in one call, each stream's in turn."""

import time
from collections.abc import Sequence

from parley_asr.cues import Cue
from parley_asr.cutter import Cutting
from parley_asr.vad import Ask, VadModel


class Piece:
    """A piece of one stream's audio: ``cues`` is what has been found, ``error`` why nothing could be. ``vad_s`` and
    ``spent_s`` are this stream's share of the time, of the detector and in all.
    """

    __slots__ = ("_cutting", "ask", "cues", "error", "spent_s", "vad_s")

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = cutting
        self.ask: Ask
        self.cues: list[Cue] = []
        self.error: Exception | None = None
        self.vad_s = self.spent_s = 0.0

    def go_on(self, probability: float | None = None) -> bool:
        """Up to the next frame, and whether there is one: it is in ``ask`` then. ``probability``: of the one before."""
        began = time.perf_counter()
        try:
            self.ask = next(self._cutting) if probability is None else self._cutting.send(probability)
        except StopIteration as end:
            self.cues = end.value
        except Exception as error:
            self.error = error
        else:
            return True
        finally:
            self.spent_s += time.perf_counter() - began
        return False


def hark(model: VadModel, pieces: Sequence[Piece]) -> None:
    """Every piece to its end. What is found in one does not depend on the others. Raises what the model raises."""
    asking = [piece for piece in pieces if piece.go_on()]
    while asking:
        began = time.perf_counter()
        found = model.score([piece.ask for piece in asking])
        share = (time.perf_counter() - began) / len(asking)
        for piece in asking:
            piece.vad_s += share
            piece.spent_s += share
        asking = [piece for piece, probability in zip(asking, found, strict=True) if piece.go_on(probability)]
