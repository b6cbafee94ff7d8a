"""Work of several streams in one call of a model: whoever asks waits for its own answer."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from parley_runtime.errors import EngineError

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """One thread that calls ``run`` with up to ``most`` items, the first of which has waited for ``wait_s`` at most,
    and for nobody once everybody who is present has asked. ``run`` returns as many results, in order; what it raises
    is raised for each of them.
    """

    def __init__(self, run: Callable[[Sequence[T]], Sequence[R]], *, most: int, wait_s: float, name: str) -> None:
        self._run = run
        self._most = most
        self._wait_s = wait_s
        self._asked: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
        self._closed = False
        self._present = 0
        self._counting = threading.Lock()
        self.largest = 0
        """Items of the largest batch so far."""
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def enter(self) -> None:
        """One more will ask now and then."""
        with self._counting:
            self._present += 1

    def leave(self) -> None:
        """One of them will not any more."""
        with self._counting:
            self._present -= 1

    def ask(self, item: T) -> R:
        """The result for ``item``. Blocks. Raises what ``run`` raised, or EngineError once closed."""
        if self._closed:
            raise EngineError("The recogniser is being closed.")
        future: Future[R] = Future()
        self._asked.put((item, future))
        return future.result()

    def close(self) -> None:
        """Answer what waits, then end. Idempotent."""
        if not self._closed:
            self._closed = True
            self._asked.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._asked.get()) is not None:
            batch = [first]
            until = time.monotonic() + self._wait_s
            ending = False
            while len(batch) < self._most and not ending:
                left_s = until - time.monotonic() if len(batch) < self._present else 0.0
                try:
                    more = self._asked.get(timeout=max(0.0, left_s))
                except queue.Empty:
                    break
                if more is None:
                    ending = True
                else:
                    batch.append(more)
            self._answer(batch)
            if ending:
                break
        self._refuse()

    def _answer(self, batch: list[tuple[T, "Future[R]"]]) -> None:
        self.largest = max(self.largest, len(batch))
        try:
            results = self._run([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _refuse(self) -> None:
        while not self._asked.empty():
            left = self._asked.get()
            if left is not None:
                left[1].set_exception(EngineError("The recogniser is being closed."))
