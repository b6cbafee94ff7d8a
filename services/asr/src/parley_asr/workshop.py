"""The work on streams, in two steps, off the event loop. Speech is found in the audio of all streams that have some, in
one call, on a thread of its own, so that its beginning is told however busy the recogniser is; then each stream's words
are written down, on a thread for each of those that have any.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from parley_asr.hark import Piece, hark
from parley_asr.pool import Pool
from parley_asr.stream import Stream
from parley_asr.vad import VadModel
from parley_runtime.cores import cores

Write = Callable[[], None]


def threads_for(asked: int, at_least: int) -> int:
    """``asked``, or where that is 0 twice as many as there are cores, and ``at_least`` so many: what a model decodes in
    one call has to be asked for at once.
    """
    return asked or max(at_least, math.ceil(2 * cores()))


class Workshop:
    """``threads``: streams whose words are written down at the same moment."""

    def __init__(self, vad: VadModel, threads: int) -> None:
        self._ears: Pool[Stream, Piece] = Pool(
            1, take=Stream.cut, run=partial(hark, vad), done=self._cut, most=vad.batch, name="ears"
        )
        self._words: Pool[Stream, Write] = Pool(threads, take=Stream.write, run=_write, done=self._written)

    def touch(self, stream: Stream) -> None:
        """``stream`` has audio, or is over."""
        (self._words if stream.over else self._ears).touch(stream)

    async def aclose(self) -> None:
        """Begin nothing any more, and wait for what is at work."""
        await self._ears.aclose()
        await self._words.aclose()

    def _cut(self, stream: Stream, error: BaseException | None) -> None:
        stream.was_cut(error)
        self._words.touch(stream)

    def _written(self, stream: Stream, error: BaseException | None) -> None:
        stream.was_written(error)
        self.touch(stream)


def _write(works: Sequence[Write]) -> None:
    for work in works:
        work()
