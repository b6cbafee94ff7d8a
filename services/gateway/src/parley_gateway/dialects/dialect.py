"""What a dialect is to the gateway: a path, a way to greet, and what to do with each message."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from parley_protocol.faults import ProtocolError

if TYPE_CHECKING:
    from parley_gateway.dialects.socket import DialectSocket


class Speaker(Protocol):
    """One socket's side of the dialect. Nothing here waits for an answer: questions go into a line.

    Beyond these it may have ``max_message`` (bytes) and ``bucket`` in place of the settings for every socket, and
    ``kind``: what metrics call the last message, one of a few words; ``quiet``: kinds of messages and frames of which
    there are too many for a line in the log each.
    """

    @property
    def busy(self) -> bool:
        """Whether an answer is under way or waits, which a drain lets finish."""
        ...

    def greet(self) -> None:
        """Say what the dialect says first, if anything. Frames that came earlier are handled after it, in order."""
        ...

    async def hear(self, data: str | bytes) -> None:
        """One message within the bounds of size and rate. The next one is read when this returns.

        Raises:
            ProtocolError: told with the dialect's error frame; the socket stays.
        """
        ...

    def refuse(self, error: ProtocolError) -> None:
        """The dialect's error frame for a message that was not taken."""
        ...

    def gone(self) -> None:
        """The socket is gone. Accepted turns run on."""
        ...


Open = Callable[["DialectSocket", Mapping[str, str]], Awaitable[Speaker]]
"""Makes the speaker of an accepted socket; the mapping holds the path's parameters.

Raises ProtocolError where the client is to be refused: it is told with ``Dialect.error``, then closed with 1008.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A registration. ``path`` may hold parameters (``/ws/review/{task}``).

    ``system`` is its name in PARLEY_OPEN_DIALECTS; None: the path needs no token, or ``open`` checks its own.
    """

    name: str
    path: str
    open: Open
    error: Callable[[ProtocolError], Any]
    """The error frame of a socket that has no speaker yet."""
    system: str | None = None
