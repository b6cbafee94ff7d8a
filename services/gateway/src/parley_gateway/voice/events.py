"""What somebody who opened an ear is told, and by whom."""

from typing import Protocol

import msgspec

from parley_protocol.audio import Ended, Failed, Heard, Partial, SpeechStarted, SpeechStopped


class Listening(msgspec.Struct, frozen=True):
    """A recogniser has taken the stream's first lease. Failing over to another one is not told."""

    engine: str


HearingEvent = Listening | SpeechStarted | SpeechStopped | Partial | Heard | Ended | Failed
"""Utterances are numbered from 0. Each is told by one :class:`Heard`, in order, whatever dies meanwhile; its start and
its stop once, before it; a partial of it never after it. :class:`Ended` or :class:`Failed` is the last event.
"""


class Hears(Protocol):
    """Whoever opened an ear."""

    def on_hearing(self, event: HearingEvent) -> None:
        """On the loop, in order. Must not block, and must not raise."""
        ...
