"""What aiormq raises, turned into two kinds of failure: the wire is gone, or the broker refuses what we ask.

When a connection closes, aiormq ends what waits on it with whatever closed it, which may be a ``CancelledError`` that
nobody asked for. :func:`wire_errors` tells that one from a real cancellation.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiormq.exceptions import AMQPError, ChannelInvalidStateError

FAILURES = (AMQPError, ChannelInvalidStateError, ConnectionError, OSError, EOFError, StopAsyncIteration)
"""What aiormq raises when a connection or channel fails; the last one where the peer hung up before the handshake."""


class WireError(Exception):
    """A connection or channel failed. ``reply_code`` is AMQP's (0: the broker said nothing); ``quick`` means that the
    port refused or dropped us at once, so that asking again soon is cheap.
    """

    def __init__(self, reason: str, *, reply_code: int = 0, quick: bool = True) -> None:
        super().__init__(reason)
        self.reply_code = reply_code
        self.quick = quick


@contextmanager
def wire_errors() -> Iterator[None]:
    """Turn aiormq's failures within the block into WireError; a cancellation of the current task passes through."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError:
        if task is None or task.cancelling() > before:
            raise
        raise WireError("the connection was closed") from None
    except Exception as error:
        # A connection that ended without an error makes aiormq raise a bare Exception in whoever waits on it.
        if not isinstance(error, FAILURES) and type(error) is not Exception:
            raise
        raise WireError(reason_of(error), reply_code=code_of(error)) from error


_CODES = {
    "ProbableAuthenticationError": 403,
    "ChannelAccessRefused": 403,
    "ChannelNotFoundEntity": 404,
    "ChannelLockedResource": 405,
    "ChannelPreconditionFailed": 406,
    "ConnectionNotAllowed": 530,
    "ConnectionInternalError": 541,
}


def code_of(error: BaseException) -> int:
    """AMQP's reply code of an aiormq error; 0 if it has none."""
    named = _CODES.get(type(error).__name__)
    if named:
        return named
    first = error.args[0] if error.args else None
    return first if isinstance(error, AMQPError) and isinstance(first, int) else 0


def reason_of(error: BaseException) -> str:
    """The broker's own words, or the error's."""
    texts = [str(part) for part in error.args if isinstance(part, str) and part]
    if texts:
        return texts[-1]
    return "the connection ended" if type(error) in (Exception, StopAsyncIteration) else type(error).__name__
