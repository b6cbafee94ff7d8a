"""How the client behaves, and who is told of what it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from parley_protocol.client import AnswerFlush, AnswerSpoken, SpeechStartedFrame, SpeechStoppedFrame
from parley_protocol.speech import AnswerAudio

Notice = Callable[[str], None]
Sound = AnswerFlush | AnswerSpoken | SpeechStartedFrame | SpeechStoppedFrame


class Observer(Protocol):
    """Hears everything on the wire, for logging and tests. Methods are called on the event loop, must be quick and must
    not raise. ``socket`` counts the connections of one client from 1. Frames are whole messages as sent or read, before
    anything has judged them; they may hold texts and tokens.
    """

    def opened(self, socket: int) -> None:
        """The handshake is done; nothing has been sent."""

    def sent(self, socket: int, data: str | bytes) -> None:
        """Handed to the socket; whether it arrives is not known."""

    def received(self, socket: int, data: str | bytes) -> None:
        """The next message of the server."""

    def closed(self, socket: int, code: int, *, own: bool) -> None:
        """The connection is gone: the code that the server gave, 1006 where it gave none; ``own``: this client began
        the closing.
        """


GRACE_S = 60.0
"""How long past its deadline a turn's end is awaited: time for reconnects, and for a broker or store to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How the client behaves. Times in seconds, sizes in bytes."""

    token: str | None = None
    session: str | None = None
    """Continue a session of before; None begins a new one."""
    position: str | None = None
    binary: bool = True
    """MessagePack frames instead of JSON."""
    connect_s: float = 10.0
    """Limit for one attempt to connect, up to ``welcome``."""
    give_up_s: float = 60.0
    """How long to try to come back before every turn fails; 0 tries for ever."""
    wait_first: bool = True
    """False: the first attempt to connect is the only one, so that a command says at once that nothing runs."""
    max_frame: int = 8 * 1024 * 1024
    on_audio: Callable[[AnswerAudio, bytes], None] | None = None
    """Called with the audio of spoken answers, in order: play it after what came before."""
    on_sound: Callable[[Sound], None] | None = None
    """Called with what is told about sound: when the user is heard to speak, what audio to forget, when it was all."""
    turn_s: float = 900.0
    """Longest wait for the end of a turn, its time in the queue of its session included; 0 waits for ever. A turn with
    a deadline is waited for until :data:`GRACE_S` after it, where that is sooner."""
    on_notice: Notice | None = None
    """Called with a sentence when the connection drops, returns, or the server is degraded."""
    observer: Observer | None = None
