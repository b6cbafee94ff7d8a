"""Runs :func:`parley_rag.ingest.prepare` where it cannot hurt: a thread for small plain documents, else a child."""

import asyncio
import os
import sys
from dataclasses import dataclass

import msgspec

from parley_rag.documents import Limits, choose
from parley_rag.ingest import Outcome, Prepared, Refused, Request, Whole, prepare
from parley_runtime.errors import Invalid, Unavailable
from parley_runtime.telemetry.logging import get_logger

log = get_logger(__name__)

IN_THREAD = 128 * 1024
"""Bytes of a plain document that are read in a thread: a few milliseconds of work."""

_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
"""The child gets no other variable: it has no use for the broker's or the store's password."""

_outcomes: msgspec.msgpack.Decoder[Outcome] = msgspec.msgpack.Decoder(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """``seconds``: one document's time; ``memory``: bytes of a child; ``at_once``: documents read side by side."""

    seconds: float = 100.0
    memory: int = 2 * 1024**3
    at_once: int = 2


class DocumentReader:
    """Bounded: at most ``at_once`` documents are being read; further calls wait for their turn."""

    def __init__(self, limits: Limits, bounds: Bounds) -> None:
        self._limits = limits
        self._bounds = bounds
        self._turn = asyncio.Semaphore(bounds.at_once)

    async def read(self, kb: str, path: str, media_type: str, data: bytes) -> Prepared:
        """Title and passages.

        Raises:
            Invalid: the document cannot be used, or needs more time or memory than allowed.
            Unavailable: no child process could be started.
        """
        outcome = await self._outcome(Request(kb, path, media_type, data, self._limits))
        assert isinstance(outcome, Prepared)
        return outcome

    async def text(self, path: str, media_type: str, data: bytes) -> str:
        """All the text; raises as :meth:`read`."""
        outcome = await self._outcome(Request("", path, media_type, data, self._limits, whole=True))
        assert isinstance(outcome, Whole)
        return outcome.text

    async def _outcome(self, request: Request) -> Prepared | Whole:
        path, media_type, data = request.path, request.media_type, request.data
        if len(data) > self._limits.document:
            raise Invalid(f"the document has {len(data):,} bytes; PARLEY_MAX_DOCUMENT allows {self._limits.document:,}")
        async with self._turn:
            if len(data) <= IN_THREAD and not choose(path, media_type, data).costly:
                return await asyncio.to_thread(prepare, request)
            return await self._in_child(request)

    async def _in_child(self, request: Request) -> Prepared | Whole:
        seconds = self._bounds.seconds
        try:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "parley_rag.child", str(self._bounds.memory), str(int(seconds) + 1)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name in _KEPT if (value := os.environ.get(name)) is not None},
            )
        except OSError as error:
            raise Unavailable(
                f"no process to read documents in could be started ({error.strerror}); try again"
            ) from error
        try:
            async with asyncio.timeout(seconds):
                output, _ = await child.communicate(msgspec.msgpack.encode(request))
        except TimeoutError:
            raise Invalid(f"reading the document took longer than {seconds:g} s; split it") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return _result(child.returncode, output)


def _result(code: int | None, output: bytes) -> Prepared | Whole:
    if code != 0 or not output:
        log.warning("document reader ended without a result", code=code)
        raise Invalid("the document could not be read within the limits on memory and time; split it or export it anew")
    outcome = _outcomes.decode(output)
    if isinstance(outcome, Refused):
        raise Invalid(outcome.reason)
    return outcome
