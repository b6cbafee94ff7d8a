"""Audio of every kind into what engines hear."""

import sys

import numpy as np
import pytest
from hearing import SCRIPT, hear, heard
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_asr.engines.scripted import speak
from parley_asr.intake import Unsupported, check, open_intake
from parley_asr.listener import Listener
from parley_protocol.audio import Hearing, Mark
from parley_runtime.errors import Invalid

pytestmark = pytest.mark.unit

WORDS = ["one", "five", "twelve", "zero"]
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)


def mulaw(samples: np.ndarray) -> bytes:
    """ITU-T G.711's definition, by search over its 256 values."""
    codes = np.arange(256)
    inverted = 255 - codes
    magnitude = (((inverted & 15) * 2 + 33) << ((inverted >> 4) & 7)) - 33
    values = np.where(inverted & 128, -magnitude, magnitude) * 4 / 32_768
    order = np.argsort(values, kind="stable")
    nearest = np.clip(np.searchsorted(values[order], samples), 0, 255)
    return order[nearest].astype(np.uint8).tobytes()


def encoded(samples: np.ndarray, encoding: str) -> bytes:
    if encoding == "pcm_s16le":
        return (samples * 32_767).astype("<i2").tobytes()
    return samples.astype("<f4").tobytes() if encoding == "pcm_f32le" else mulaw(samples)


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "pcm_mulaw"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_every_format_is_heard(rate: int, channels: int, encoding: str) -> None:
    samples = speak(WORDS, rate=rate, silence_s=0.5)
    data = encoded(np.repeat(samples, channels), encoding)
    hearing = Hearing(encoding=encoding, rate=rate, channels=channels)
    (last,) = heard(hear(Listener(hearing, 0, 0, SCRIPT), data, step=977, mark=Mark.COMMIT))
    assert last.text == " ".join(WORDS)
    assert last.words[3].start_ms == pytest.approx(720, abs=45)
    assert last.keep == len(data)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(RATES), st.integers(0, 2**32))
def test_how_bytes_are_cut_changes_no_sample(rate: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    hearing = Hearing(rate=rate)
    data = chance.integers(-20_000, 20_000, rate // 2, dtype=np.int16).tobytes()

    def through(cuts: list[int]) -> np.ndarray:
        intake, raw, at, parts = open_intake(hearing), bytearray(), 0, []
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            raw += data[start:end]
            while size := intake.whole(raw, at):
                parts.append(intake.push(bytes(raw[at : at + size])))
                at += size
        parts.append(intake.flush(bytes(raw[at:]))[1])
        return np.concatenate(parts)

    cuts = sorted(int(cut) for cut in chance.integers(0, len(data), 9))
    assert np.array_equal(through([]), through(cuts))
    assert len(through([])) == pytest.approx(8_000, abs=2)


def test_floats_that_are_no_audio() -> None:
    intake = open_intake(Hearing(encoding="pcm_f32le"))
    for value in (np.nan, np.inf, 3e4):
        with pytest.raises(Invalid):
            intake.push(np.full(320, value, "<f4").tobytes())


# ---- Opus


def opus(samples: np.ndarray) -> list[bytes]:
    """Packets of 20 ms, each behind its length."""
    import av

    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format = 48_000, "mono", "s16"
    codec.open()
    packets = []
    for start in range(0, samples.size - 959, 960):
        frame = av.AudioFrame.from_ndarray(
            (samples[start : start + 960] * 32_767).astype(np.int16)[np.newaxis], format="s16", layout="mono"
        )
        frame.sample_rate = 48_000
        packets += codec.encode(frame)
    packets += codec.encode(None)
    return [len(bytes(one)).to_bytes(2, "big") + bytes(one) for one in packets]


OPUS = Hearing(encoding="opus", rate=48_000)


def test_opus_is_heard_and_begins_anew_at_any_boundary() -> None:
    samples = np.concatenate([speak([word], rate=48_000, silence_s=0.9) for word in WORDS])
    data = b"".join(opus(samples))
    hearing = Hearing(encoding="opus", rate=48_000, by_silence=True)
    listener = Listener(hearing, 0, 0, SCRIPT)
    found = heard(hear(listener, data, step=333, mark=Mark.END))
    assert [last.text for last in found if last.text] == WORDS
    again = Listener(hearing, found[1].keep, 2, SCRIPT)
    rest = heard(hear(again, data[found[1].keep :], step=5000, mark=Mark.END))
    assert [(last.utterance, last.text, last.keep) for last in rest] == [
        (last.utterance, last.text, last.keep) for last in found[2:]
    ]


@pytest.mark.parametrize("garbage", [b"\0\0" * 10, b"\x00\x01\xff", b"\x00\x05" + b"\xff" * 5])
def test_opus_garbage_is_refused_for_good(garbage: bytes) -> None:
    with pytest.raises(Invalid, match="packet") as caught:
        hear(Listener(OPUS, 0, 0, SCRIPT), garbage * 50)
    assert not caught.value.retryable


def test_without_its_library_opus_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(Unsupported) as caught:
        check(OPUS)
    assert caught.value.fault().code == "unsupported"
