"""Speech through the broker: a stream of audio to one recogniser, what it hears back, and sentences to be spoken.

A *stream* is what one socket says from ``audio.start`` to ``audio.stop``. Positions in it are byte offsets from its
start, so that they mean the same in every encoding. One worker listens to a stream under a *lease*: an unsettled
:class:`Listen`, so that prefetch is what bounds the streams of a worker. The gateway keeps the audio from ``keep`` on,
and hands it to the next worker under a higher ``epoch`` when a lease is lost or has to move.

What a recogniser hears is a function of the audio from the last *boundary* on: at every boundary it forgets whatever it
knew. That is why another worker that begins at the boundary hears the same.
"""

import enum

import msgspec

from parley_protocol.events import Batch, Fault, Reply
from parley_protocol.ids import SessionId, Tenant, TurnKey


class Endpointing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When an utterance begins and ends. Milliseconds of audio, not of time."""

    threshold: float = 0.5
    """Probability of speech, 0 to 1, from which a frame counts as speech."""
    start_ms: int = 90
    """Speech for so long begins an utterance."""
    prefix_ms: int = 300
    """Audio before that which belongs to it."""
    pause_ms: int = 240
    """Silence after which the words so far are told as a pause: work may begin on them, for the case that it lasts."""
    silence_ms: int = 600
    """Silence that ends it."""
    longest_ms: int = 30_000
    """An utterance that goes on for longer is cut here, at the quietest place of its last second."""


class Hearing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a stream is to be heard."""

    encoding: str = "pcm_s16le"
    """``pcm_s16le``; ``pcm_f32le``; ``pcm_mulaw``; ``opus``: one packet per frame of the client, each behind its length
    in two bytes, big-endian."""
    rate: int = 16_000
    """Hz, 8,000 to 48,000."""
    channels: int = 1
    """1 or 2, interleaved; they are mixed."""
    language: str = ""
    """A BCP 47 tag; empty: the engine's own."""
    engine: str = ""
    """The engine that is to listen; empty: the stage's own choice."""
    prompt: str = ""
    """Words that are likely, for engines that take them."""
    by_silence: bool = False
    """Utterances end by silence (``endpointing``); else at ``Mark.COMMIT`` and at the end only."""
    partials: bool = True
    endpointing: Endpointing = msgspec.field(default_factory=Endpointing)


class Listen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="listen", tag_field="kind"):
    """Job of the listening stage: take the lease of a stream, say so with :class:`Leased`, and hear it to its end.

    Losable: a gateway that hears nothing publishes another one under a higher epoch. Not dead-lettered.
    """

    stream: str
    """Unique in the installation."""
    epoch: int
    """1 for the first lease; a worker that meets a higher one for a stream that it holds lets go of the lower."""
    gateway: str
    tenant: Tenant
    session: SessionId
    hearing: Hearing
    kb: str = ""
    """Knowledge base whose words are likely to be said; empty: none."""
    at: int = 0
    """Position of the first byte that the worker is going to get: the last boundary."""
    utterance: int = 0
    """Number of the utterance that begins there or later."""
    sent_at: float = 0.0


class Mark(enum.StrEnum):
    """What a part says after its bytes."""

    NONE = ""
    COMMIT = "commit"
    """The utterance ends here, whether there is silence or not. Answered by one :class:`Heard`, which may be empty."""
    CLEAR = "clear"
    """Forget what has been said since the last boundary; this is one too."""
    END = "end"
    """As COMMIT; and nothing follows. The worker answers :class:`Ended` last, and settles the lease."""
    DROP = "drop"
    """Nobody wants to know any more: let go of the lease without a word."""


class AudioPart(msgspec.Struct, frozen=True, array_like=True):
    """Some bytes of one stream, at ``at``. Bytes that came before are skipped; a gap ends the lease.

    A part without bytes and without a mark asks for a sign of life: it is answered by :class:`Progress` as any other.
    """

    stream: str
    epoch: int
    at: int
    data: bytes
    mark: Mark = Mark.NONE


class AudioBatch(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """What one gateway has for one worker: the parts of all its streams, in order."""

    gateway: str
    parts: tuple[AudioPart, ...]


class Leased(msgspec.Struct, frozen=True, array_like=True, tag="l"):
    """This worker listens: its parts go to its id on the audio exchange. ``engine`` tells who hears."""

    engine: str
    wait_ms: float = 0.0
    """In the queue, by wall clocks."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """The audio before ``taken`` has arrived; the audio before ``keep``, a boundary, is not needed any more."""

    taken: int
    keep: int
    utterance: int = 0
    """Number of the utterance that begins at ``keep`` or later. Said after the :class:`Heard` of those before it: a
    gateway that has not had them has missed one, and takes another lease.
    """


class SpeechStarted(msgspec.Struct, frozen=True, array_like=True, tag="v"):
    """Somebody speaks. ``ms`` of audio since the stream's start; told ``Endpointing.start_ms`` after the fact."""

    utterance: int
    ms: int


class SpeechStopped(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """Nobody does any more. Where utterances end by silence, the utterance's :class:`Heard` follows."""

    utterance: int
    ms: int


class Partial(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """The whole hypothesis of the utterance so far: replace, never append."""

    utterance: int
    text: str
    stable: int = 0
    """Code points at the beginning that no later hypothesis of the utterance changes."""
    paused: bool = False
    """Silence has begun that may end the utterance, which would then be heard as ``text``. A later one without it:
    speech has resumed."""
    ms: int = 0
    """Audio of the stream that it was made of, milliseconds: it goes forward, and tells whoever has been told of as
    much already, by a worker before, that this is no news. 0: not known."""


class Word(msgspec.Struct, frozen=True, array_like=True):
    """A word and its place in the stream, milliseconds of audio."""

    text: str
    start_ms: int
    end_ms: int
    confidence: float = 0.0
    """0 to 1; 0 where the engine does not say."""


class Heard(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """The utterance is over, and this is what was said: the one last word on it. ``text`` is empty where nothing was.

    Boundary: the next utterance begins at ``keep`` or later, and the audio before it is not needed any more.
    """

    utterance: int
    text: str
    keep: int
    words: tuple[Word, ...] = ()
    start_ms: int = 0
    end_ms: int = 0
    cut: bool = False
    """It was longer than ``Endpointing.longest_ms`` and goes on in the next one."""
    work_ms: float = 0.0
    """From the last byte of the utterance arriving, or the silence being known, to this."""
    factor: float = 0.0
    """Seconds of work per second of audio, of this stream so far: its real-time factor."""
    marked: bool = False
    """``Mark.COMMIT`` or ``Mark.END`` ended it, and is answered by it; else silence did, or its length."""


class Moving(msgspec.Struct, frozen=True, array_like=True, tag="m"):
    """This worker is about to let go of the lease (it is old, or the worker is going): take another one. Audio may be
    sent here until then."""

    reason: str


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """The stream cannot be heard, by this worker or any (``fault.retryable`` tells which); the lease is over."""

    fault: Fault


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="z"):
    """Everything up to the end has been heard and told; the lease is over."""

    audio_ms: int
    factor: float = 0.0


StreamEvent = Leased | Progress | SpeechStarted | SpeechStopped | Partial | Heard | Moving | Failed | Ended


class StreamEvents(msgspec.Struct, frozen=True, array_like=True):
    """Events of one stream under one lease, in order. ``worker`` is the process id that audio goes to."""

    stream: str
    epoch: int
    worker: str
    events: tuple[StreamEvent, ...]


class Hearings(msgspec.Struct, frozen=True, array_like=True, tag="h"):
    """What one worker has to tell one gateway: events of all its streams there. Sent at most once."""

    streams: tuple[StreamEvents, ...]


class Speak(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="speak", tag_field="kind"):
    """Job of the speaking stage: say ``text``, and send it to ``gateway`` as :class:`Spoken` parts.

    The same job always gives the same audio where the engine allows it. Losable: a gateway asks again. Not
    dead-lettered.
    """

    speech: str
    """Whose speech it is, unique in the installation: where the parts go within the gateway."""
    index: int
    """Number of the sentence within the speech."""
    text: str
    gateway: str
    rate: int = 24_000
    """Hz of the audio wanted: 8,000 to 48,000."""
    voice: str = ""
    language: str = ""
    """Empty: told by the text."""
    speed: float = 1.0
    key: TurnKey | None = None
    """The turn that it answers, for telemetry."""
    attempt: int = 0
    budget_s: float = 10.0
    sent_at: float = 0.0


class Spoken(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """Audio of one sentence: PCM, 16 bits, little-endian, mono. Parts are numbered from 0; ``last`` ends the sentence.
    With a ``fault`` there is no more of it."""

    speech: str
    index: int
    attempt: int
    part: int
    data: bytes
    rate: int
    last: bool = False
    fault: Fault | None = None
    wait_ms: float = 0.0
    work_ms: float = 0.0
    """Of the sentence so far: in the queue, and at work."""


GatewayMessage = Batch | Reply | Hearings | Spoken
"""Everything that arrives on a gateway's event queue."""
