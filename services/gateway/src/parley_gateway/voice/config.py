"""Settings of streams of audio at the gateway."""

from dataclasses import dataclass

from parley_gateway.voice.backchannel import Backchannels
from parley_gateway.voice.floor import FloorRules, Terms
from parley_runtime.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EarSettings:
    """How audio travels to recognisers, and what bounds it."""

    flush_s: float = setting(
        "PARLEY_AUDIO_FLUSH_S",
        0.06,
        "Audio of all streams for one worker is gathered for so long, and sent as one message",
        unit="seconds",
        minimum=0.005,
        maximum=1,
    )
    progress_s: float = setting(
        "PARLEY_AUDIO_PROGRESS_S",
        1.0,
        "Audio sent so long ago and not reported as taken: its worker is gone, and another one is asked",
        unit="seconds",
        minimum=0.1,
    )
    lease_s: float = setting(
        "PARLEY_AUDIO_LEASE_S",
        2.0,
        "Time for a worker to take a new stream; after that its client is told overloaded",
        unit="seconds",
        minimum=0.1,
    )
    failover_s: float = setting(
        "PARLEY_AUDIO_FAILOVER_S",
        20.0,
        "Time for another worker to take a stream whose worker is gone, while its audio has room",
        unit="seconds",
        minimum=0.1,
    )
    ring: int = setting(
        "PARLEY_AUDIO_RING",
        8 * 1024 * 1024,
        "Audio of one stream kept for another worker: what has not been heard to the end of its utterance; utterances "
        "in formats with many bytes a second are cut so that they have room in it",
        unit="bytes",
        minimum=65_536,
    )
    ahead_s: float = setting(
        "PARLEY_AUDIO_AHEAD_S",
        60.0,
        "How much more audio a stream may have sent than time has passed",
        unit="seconds",
        minimum=1,
    )
    streams: int = setting("PARLEY_AUDIO_STREAMS", 500, "Streams of audio at one gateway", unit="streams", minimum=1)
    identity_streams: int = setting(
        "PARLEY_AUDIO_IDENTITY_STREAMS",
        10,
        "Streams of audio of one user with a token at one gateway",
        unit="streams",
        zero="no bound",
        minimum=0,
    )
    longest_s: float = setting(
        "PARLEY_AUDIO_LONGEST_S", 10_800.0, "Longest stream of audio", unit="seconds of audio", minimum=1
    )
    silence_ms: int = setting(
        "PARLEY_AUDIO_SILENCE_MS",
        600,
        "Silence that ends an utterance where the client does not say",
        unit="milliseconds",
        minimum=100,
        maximum=10_000,
    )
    idle_s: float = setting(
        "PARLEY_AUDIO_IDLE_S",
        60.0,
        "A stream without any audio for so long ends, as it holds a worker's seat",
        unit="seconds",
        minimum=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlySettings:
    """Looking for passages while a question is still being spoken."""

    on: bool = setting(
        "PARLEY_EARLY_RETRIEVAL",
        True,
        "Passages are looked for at a pause in speech already, for the case that the question ends there",
    )
    wait_s: float = setting(
        "PARLEY_EARLY_RETRIEVAL_S",
        2.0,
        "Time for such a search, in its queue and at work. A question that has been heard never waits for it",
        unit="seconds",
        minimum=0.05,
        maximum=30,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorSettings:
    """What speech does to the answer that is being given, where the client speaks hands free."""

    least_s: float = setting(
        "PARLEY_FLOOR_LEAST_S",
        0.5,
        "Speech over an answer must last so long before its words may interrupt; the last word on it may at any time",
        unit="seconds",
        minimum=0,
    )
    enough_s: float = setting(
        "PARLEY_FLOOR_ENOUGH_S",
        2.0,
        "Speech that has been heard to last so long interrupts an answer, whatever its words",
        unit="seconds",
        minimum=0.1,
    )
    false_s: float = setting(
        "PARLEY_FLOOR_FALSE_S",
        2.0,
        "Silence without a word known: an answer that was held up goes on",
        unit="seconds",
        minimum=0.1,
    )
    backchannels: tuple[str, ...] = setting(
        "PARLEY_FLOOR_BACKCHANNELS", (), "Further words and phrases that do not interrupt an answer, such as roger"
    )

    def rules(self) -> FloorRules:
        """As the floor takes them."""
        return FloorRules(Terms(self.least_s, self.enough_s, self.false_s), Backchannels(self.backchannels))
