"""``dify``: an application of Dify over its HTTP API, which retrieves and remembers conversations by itself.

Stopping a run stops Dify's: the connection is closed and the task is stopped by name, as the user who began it. A run
that is stopped before its name is known is read on in the background until it is. (In blocking mode Dify names the task
with the whole answer only: closing the connection is all there is.)

Failures before any text are repeated while that may help, then end the turn: who speaks to a machine does not wait for
a retry ladder. An answer that is cut off in the middle goes to the ladder, and starts anew.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from parley_inference.engine import Piece, Request
from parley_inference.engines.dify_calls import NAME, DifyCalls, DifySettings, Mode, leave
from parley_inference.engines.dify_errors import NO_KEY, Forgotten
from parley_inference.engines.dify_events import DifyReader
from parley_runtime.errors import EngineError, EngineRejected
from parley_runtime.tasks import Tasks
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

__all__ = ["NAME", "DifyGenerator", "DifySettings", "Mode"]

log = get_logger(__name__)

BACKOFF_S = 0.5
"""First wait between attempts; doubled each time, with jitter."""
MAX_WAIT_S = 5.0
"""A server that asks for more is not asked again."""
CLOSE_S = 2.0
"""For stops under way when the engine is closed."""


class DifyGenerator:
    """See :class:`parley_inference.engine.Generator`. One pool of connections."""

    name = NAME
    model = NAME
    deterministic = False
    continues = False

    def __init__(self, settings: DifySettings) -> None:
        self._settings = settings
        self._calls = DifyCalls(settings)
        self._stops = Tasks("stops at Dify")

    @property
    def threads(self) -> bool:
        """See :class:`parley_inference.engine.Remembering`."""
        return self._settings.conversation

    def problem(self) -> str | None:
        """Whatever is wrong is said to each question: a process that took none could not say it."""
        return None

    async def close(self) -> None:
        """Let stops that are under way finish, for a moment; close all connections."""
        await self._stops.close(CLOSE_S)
        await self._calls.close()

    async def generate(
        self,
        request: Request,
        *,
        prefix: str = "",  # noqa: ARG002 - see below
    ) -> AsyncGenerator[Piece, None]:
        """Stream one answer, from its start: Dify cannot continue one."""
        try:
            async with aclosing(self._attempts(request)) as pieces:
                async for piece in pieces:
                    yield piece
        except (EngineError, EngineRejected) as error:
            # In the form that operators of the documented system look for.
            log.error(f"[Dify RAG Error] {error}")  # noqa: TRY400 - what is known needs no traceback
            raise

    async def _attempts(self, request: Request) -> AsyncGenerator[Piece, None]:
        if not self._settings.api_key:
            raise EngineRejected(NO_KEY)
        thread = request.thread if self._settings.conversation else ""
        attempt = 0
        while True:
            said = False
            try:
                async with aclosing(self._attempt(request, thread)) as pieces:
                    async for piece in pieces:
                        said = said or bool(piece.text)
                        yield piece
            except Forgotten:
                log.info("conversation is not known to Dify any more; a new one begins")
                thread = ""
            except EngineError as error:
                if said:
                    raise
                if attempt >= self._settings.retries or error.retry_after_s > MAX_WAIT_S:
                    raise EngineRejected(str(error)) from error
                wait = max(error.retry_after_s, BACKOFF_S * 2.0**attempt * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                attempt += 1
                await asyncio.sleep(wait)
            else:
                return

    async def _attempt(self, request: Request, thread: str) -> AsyncGenerator[Piece, None]:
        """One question. However it ends, nothing goes on at Dify that is not wanted any more."""
        user = f"ws-user-{request.user}"
        opening = asyncio.get_running_loop().create_task(self._calls.open(request.question, user, thread))
        finished = False
        try:
            call = await self._calls.opened(opening)
            for piece in call.pieces:
                yield piece
            while not call.reader.finished:
                for piece in await self._calls.more(call):
                    yield piece
            finished = True
            self._charge(call.reader)
            await leave(call)
        finally:
            if not finished:
                self._stops.spawn(self._calls.end(opening, user))  # a cancel does not wait for Dify

    def _charge(self, reader: DifyReader) -> None:
        bill = reader.bill
        assert bill is not None
        log.info(f"[Dify RAG] Tokens: {bill.tokens}, Price: {bill.price} {bill.currency}")
        counter(names.ENGINE_PRICE).labels(NAME, bill.currency).inc(float(bill.price))
