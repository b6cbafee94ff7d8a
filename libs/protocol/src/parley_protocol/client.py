"""Frames of ``/v1/connect``: JSON text frames, or MessagePack binary frames under ``parley.v1.msgpack``.

Every event of a turn carries ``turn``, ``seq`` (contiguous from 0 within the turn) and ``position`` (opaque: hand the
last one back in ``hello`` to resume). ``type`` names the frame.
"""

from typing import Any

import msgspec

from parley_protocol.events import Ending, Fault, Hop, Source, TurnStatus, Usage
from parley_protocol.ids import SessionId, TurnId
from parley_protocol.readings import MetricData

SUBPROTOCOL_JSON = "parley.v1.json"
SUBPROTOCOL_MSGPACK = "parley.v1.msgpack"
SUBPROTOCOL_BEARER = "parley.token."
"""A browser cannot set headers: ``new WebSocket(url, ["parley.v1.json", "parley.token." + jwt])``."""
SUBPROTOCOLS_BEARER = (SUBPROTOCOL_BEARER, "openai-insecure-api-key.")
"""With what OpenAI's own browser clients send: ``["realtime", "openai-insecure-api-key." + jwt]``."""


class _Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A frame either way."""


# --- client to server -------------------------------------------------------------------------------------------


class Hello(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="hello"):
    """First frame, within 10 s. Without ``session`` a new one begins."""

    session: SessionId | None = None
    position: str | None = None
    """The last position seen, of whichever turn."""
    pending: tuple[TurnId, ...] = ()
    """Every turn started and not done, in the order of starting."""
    token: str | None = None


class Voice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer is to be spoken as well. ``rate`` in Hz; ``voice`` and ``language`` empty: told by the text."""

    voice: str = ""
    language: str = ""
    rate: int = 24_000
    speed: float = 1.0


class TurnStart(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.start"):
    """A typed turn. The same ``turn`` and text again re-attaches; another text is ``conflict``."""

    turn: TurnId
    text: str
    kb: str | None = None
    context: dict[str, Any] | None = None
    deadline_ms: int | None = None
    interrupt: bool = False
    """Cancel the session's running turn and drop those waiting before this one starts."""
    speak: Voice | None = None
    """None: nothing is spoken."""


class TurnCancel(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.cancel"):
    """End a turn. Exactly the text delivered is kept; a ``turn.done`` follows, whichever came first."""

    turn: TurnId


class AudioFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Raw audio: ``rate`` in Hz, 8,000 to 48,000; 1 or 2 ``channels``, interleaved. With ``opus`` each binary frame is
    one packet.
    """

    encoding: str = "pcm_s16le"
    rate: int = 16_000
    channels: int = 1


class AudioStart(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="audio.start"):
    """A spoken turn; binary frames follow, then ``audio.stop``. One stream per socket at a time.

    ``hands_free``: utterances end by silence, each becomes a turn of its own, named ``<turn>.0``, ``<turn>.1`` and so
    on, and who speaks while an answer is spoken interrupts it. The stream goes on until ``audio.stop``.
    """

    turn: TurnId
    format: AudioFormat = msgspec.field(default_factory=AudioFormat)
    hands_free: bool = False
    kb: str | None = None
    context: dict[str, Any] | None = None
    deadline_ms: int | None = None
    """Of the turn, from its being heard."""
    language: str = ""
    prompt: str = ""
    """Words that are likely to be said."""
    silence_ms: int | None = None
    """Silence that ends an utterance; None: the server's own choice."""
    interrupt: bool = False
    speak: Voice | None = None
    """The answer is to be spoken as well; None: it is not."""


class AudioStop(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="audio.stop"):
    """The end of the utterance, and of the stream."""


class AudioPlayed(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="audio.played"):
    """How much of the spoken answer the user has heard, in milliseconds. Without it the server goes by the clock."""

    turn: TurnId
    ms: int


class AnswerSpeak(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="answer.speak"):
    """Speak the answer of a turn of this session to this socket: one whose socket was lost while it was spoken, or one
    that was not to be spoken at first. It begins with ``sentence``, as the frames of ``answer.audio`` number them.
    """

    turn: TurnId
    speak: Voice
    sentence: int = 0


class Ack(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="ack"):
    """What the client has kept; allows the server to forget earlier text."""

    position: str


class Ping(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="ping"):
    """Answered by ``pong``."""


ClientFrame = Hello | TurnStart | TurnCancel | AudioStart | AudioStop | AudioPlayed | AnswerSpeak | Ack | Ping

# --- server to client -------------------------------------------------------------------------------------------


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the server accepts: sizes in bytes (``text`` in code points), rates per second."""

    frame: int
    text: int
    queued_turns: int
    rate: float


class Welcome(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="welcome"):
    """Answer to ``hello``. ``gap``: the resume window has passed for a turn; a snapshot follows where one is known."""

    session: SessionId
    resumed: bool
    gap: bool
    heartbeat_s: float
    limits: Limits


class Accepted(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.accepted"):
    """From here on the turn ends in exactly one ``turn.done``. Sent once per submission; carries no ``seq``."""

    turn: TurnId


class _TurnFrame(_Frame, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a turn."""

    turn: TurnId
    seq: int
    position: str


class StatusFrame(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.status"):
    """The turn entered a stage."""

    stage: str


class TranscriptPartial(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="transcript.partial"):
    """The whole hypothesis so far: replace, never append."""

    text: str


class TranscriptFinal(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="transcript.final"):
    """What was said."""

    text: str


class RetrievalFrame(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="retrieval"):
    """What backs the answer. ``[1]`` in the answer is the first of ``sources``; ``data`` holds the readings used."""

    intent: str
    route: str
    sources: tuple[Source, ...]
    data: tuple[MetricData, ...] = ()


class AnswerDelta(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="answer.delta"):
    """More answer text: append."""

    text: str


class Restarted(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.restarted"):
    """Forget the deltas of this turn: they start anew."""

    attempt: int


class Latency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Milliseconds since the gateway took the turn in; ``stages`` holds queue wait and work of each stage."""

    accepted_ms: float
    first_token_ms: float
    total_ms: float
    stages: tuple[Hop, ...] = ()


class Done(_TurnFrame, frozen=True, kw_only=True, omit_defaults=True, tag="turn.done"):
    """The one end of a turn: it is stored. The deltas since the last ``turn.restarted`` equal ``text``."""

    status: TurnStatus
    text: str
    usage: Usage | None
    sources: tuple[Source, ...]
    latency: Latency
    fault: Fault | None = None
    ending: Ending | None = None
    """Why the answer was cut, and what is to be called; None: neither."""


class SpeechStartedFrame(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="speech.started"):
    """The user speaks. ``ms`` of audio since ``audio.start``. Carries no ``seq``, as all that is about sound."""

    turn: TurnId
    ms: int


class SpeechStoppedFrame(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="speech.stopped"):
    """The user is silent."""

    turn: TurnId
    ms: int


class AnswerFlush(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="answer.flush"):
    """Drop the audio of this answer that has not been played. ``ended``: no more of it comes; else what follows may
    take up where the user stopped hearing, at ``ms`` of the answer's audio.
    """

    turn: TurnId
    ms: int
    ended: bool = False


class AnswerSpoken(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="answer.spoken"):
    """All of the answer's audio has been sent: ``ms`` of it. With a ``fault``, as much of it as could be had."""

    turn: TurnId
    ms: int
    fault: Fault | None = None


class Degraded(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="degraded"):
    """The broker cannot be reached; accepted turns go on when it is back."""

    reason: str


class Restored(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="restored"):
    """The broker is back."""


class Draining(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="draining"):
    """This gateway is going away: reconnect after the delay and resume."""

    reconnect_in_ms: int


class ErrorFrame(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="error"):
    """Something was not taken; nothing else is disturbed. ``message`` says what to do."""

    code: str
    message: str
    retryable: bool
    retry_after_ms: int | None = None
    turn: TurnId | None = None


class Pong(_Frame, frozen=True, kw_only=True, omit_defaults=True, tag="pong"):
    """Answer to ``ping``."""


ServerFrame = (
    Welcome
    | Accepted
    | StatusFrame
    | TranscriptPartial
    | TranscriptFinal
    | RetrievalFrame
    | AnswerDelta
    | Restarted
    | Done
    | SpeechStartedFrame
    | SpeechStoppedFrame
    | AnswerFlush
    | AnswerSpoken
    | Degraded
    | Restored
    | Draining
    | ErrorFrame
    | Pong
)
TurnFrame = StatusFrame | TranscriptPartial | TranscriptFinal | RetrievalFrame | AnswerDelta | Restarted | Done
