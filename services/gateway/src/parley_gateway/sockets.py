"""What drain, broker news and limits need of an open socket, whatever it speaks."""

from typing import Protocol

from parley_gateway.outbox import Outbox
from parley_protocol.client import Degraded, Draining, Restored

News = Degraded | Draining | Restored
"""What every client may be told without having asked."""


class Socket(Protocol):
    """One open socket. A dialect without words for some news says nothing."""

    @property
    def outbox(self) -> Outbox: ...
    @property
    def opened_at(self) -> float:
        """Monotonic seconds."""
        ...

    @property
    def busy(self) -> bool:
        """Whether an answer is under way, which a drain waits for."""
        ...

    def news(self, news: News) -> None:
        """Tell the client, where its dialect has words for it."""
        ...

    def go(self) -> None:
        """This gateway goes away: close after what waits has been written, with the code that calls clients back."""
        ...

    def go_now(self) -> None:
        """The same without waiting for anything."""
        ...
