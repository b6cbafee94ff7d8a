"""Speech told from silence for many streams in one call: each of them is heard as if it were alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hearing import hear, pcm
from voices import synthesised

from parley_asr import silero
from parley_asr.cutter import Cutter
from parley_asr.engine import Samples
from parley_asr.engines.scripted import ScriptedRecognition
from parley_asr.hark import Piece, hark
from parley_asr.intake import open_intake
from parley_asr.listener import Listener, Parts
from parley_asr.scribe import Event, Scribe
from parley_asr.silero import SileroModel
from parley_asr.vad import Ask
from parley_protocol.audio import Hearing, Mark, SpeechStarted
from parley_runtime.errors import Invalid

pytestmark = pytest.mark.unit

STREAMS = 19
"""More than one call takes, and no multiple of that."""
BY_SILENCE = Hearing(by_silence=True)


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


@pytest.fixture(scope="module")
def audio() -> list[Samples]:
    """Speech over noise, of different lengths and loudness."""
    chance = np.random.default_rng(7)
    said = [synthesised(text, around_s=0.8) for text in ("what is a gateway", "good morning", "no, the other one")]
    made = []
    for index in range(STREAMS):
        whole = np.roll(np.tile(said[index % 3], 2), int(chance.integers(30_000)))[: 30_000 + 997 * index]
        noise = chance.standard_normal(whole.size) * 10 ** chance.uniform(-4, -2)
        made.append((whole * chance.uniform(0.1, 1.0) + noise).astype(np.float32))
    return made


class Together:
    """A stream whose audio is cut with that of others."""

    def __init__(self, model: SileroModel, data: bytes) -> None:
        self.cutter = Cutter(BY_SILENCE, 0, 0, vad=model.stream, intake=open_intake)
        self.scribe = Scribe(BY_SILENCE, 0, 0, ScriptedRecognition)
        self.data = data
        self.events: list[Event] = []


def heard_together(model: SileroModel, streams: Sequence[Together]) -> None:
    """All of them, in pieces that come at different times."""
    longest = max(len(stream.data) for stream in streams)
    for at in range(0, longest + 5000, 1920):
        some = [one for index, one in enumerate(streams) if (at // 1920 + index) % 7 or at > longest]
        pieces = []
        for one in some:
            piece, one.data = one.data[:5000], one.data[5000:]
            pieces.append(Piece(one.cutter.cut(piece, Mark.NONE if piece else Mark.COMMIT)))
        hark(model, pieces)
        for one, piece in zip(some, pieces, strict=True):
            assert piece.error is None
            one.events += one.scribe.write(piece.cues, one.cutter.audio_ms)


def test_many_streams_are_heard_as_each_of_them_alone(model: SileroModel, audio: list[Samples]) -> None:
    assert model.batch > 1, "this processor's results depend on the batch: nothing is shown here"
    alone = []
    for samples in audio:
        listener = Listener(BY_SILENCE, 0, 0, Parts(SileroModel(1).stream, ScriptedRecognition))
        alone.append(hear(listener, pcm(samples), step=5000, mark=Mark.COMMIT))
    streams = [Together(model, pcm(samples)) for samples in audio]
    heard_together(model, streams)
    for stream, events in zip(streams, alone, strict=True):
        assert any(isinstance(event, SpeechStarted) for event in events)
        assert stream.events[: len(events)] == events


def test_probabilities_are_the_same_to_the_last_bit(model: SileroModel, audio: list[Samples]) -> None:
    one, many = ([model.stream() for _ in audio] for _ in range(2))
    for at in range(0, 25_600, 512):
        frames = [samples[at : at + 512] for samples in audio]
        expected = [vad.score(frame) for vad, frame in zip(one, frames, strict=True)]
        assert model.score([Ask(vad, frame) for vad, frame in zip(many, frames, strict=True)]) == expected


@pytest.mark.parametrize("what", [0, 1])
def test_where_batches_differ_in_the_last_bit_streams_are_scored_alone(
    monkeypatch: pytest.MonkeyPatch, what: int, model: SileroModel, audio: list[Samples]
) -> None:
    made = silero._session()

    class Differs:
        """A library whose code for batches of five is another one."""

        def run(self, wanted: Any, given: dict[str, Any]) -> list[Any]:
            results = made.run(wanted, given)
            if len(given["input"]) == 5:
                results[what] = np.nextafter(results[what], np.float32(2))
            return results

    monkeypatch.setattr(silero, "_session", Differs)
    assert SileroModel(4).batch == 4
    careful = SileroModel(16)
    assert careful.batch == 1
    frames = [samples[9000:9512] for samples in audio]
    alone, together = ([Ask(each.stream(), frame) for frame in frames] for each in (model, careful))
    assert careful.score(together) == [ask.vad.score(ask.frame) for ask in alone]


def test_a_stream_of_garbage_fails_alone(model: SileroModel, audio: list[Samples]) -> None:
    def cut(hearing: Hearing, data: bytes) -> Piece:
        return Piece(Cutter(hearing, 0, 0, vad=model.stream, intake=open_intake).cut(data, Mark.COMMIT))

    good, data = BY_SILENCE, pcm(audio[0])
    (expected,) = [cut(good, data)]
    hark(model, [expected])
    pieces = [cut(good, data), cut(Hearing(encoding="pcm_f32le"), data), cut(good, data)]
    hark(model, pieces)
    assert isinstance(pieces[1].error, Invalid)
    assert [str(piece.cues) for piece in (pieces[0], pieces[2])] == [str(expected.cues)] * 2
    assert pieces[0].spent_s > pieces[0].vad_s > 0
