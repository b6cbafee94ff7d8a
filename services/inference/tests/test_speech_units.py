"""Scripts of a text, resampling, choosing a voice."""

import numpy as np
import pytest
import speech_server
from hypothesis import given
from hypothesis import strategies as st
from llm_server import LlmServer

from parley_inference.speech import registry
from parley_inference.speech.espeak import EspeakSettings, EspeakSynthesizer
from parley_inference.speech.openai import OpenAISpeechSettings
from parley_inference.speech.registry import SpeechSettings, SynthesizerSettings, choose_voice
from parley_inference.speech.resample import Resampler
from parley_inference.speech.scripts import runs
from parley_runtime.config import read
from parley_runtime.errors import ConfigError, Unavailable

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, world.", [("", "Hello, world.")]),
        ("你好。", [("zh", "你好。")]),
        ("Parley 3.0 支持语音，很好", [("", "Parley 3.0 "), ("zh", "支持语音，很好")]),
        ("（1）你好 hello！", [("zh", "（1）你好 "), ("", "hello！")]),
        ("123", [("", "123")]),
    ],
)
def test_runs_of_one_script(text: str, expected: list[tuple[str, str]]) -> None:
    assert runs(text) == expected


@given(st.text())
def test_runs_add_up(text: str) -> None:
    assert "".join(part for _, part in runs(text)) == text


RATES = [(22_050, 24_000), (22_050, 8_000), (24_000, 48_000), (24_000, 16_000), (22_050, 22_051), (16_000, 16_000)]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_sine_stays_a_sine(source: int, target: int) -> None:
    tone = (10_000 * np.sin(2 * np.pi * 440 * np.arange(source) / source)).astype("<i2").tobytes()
    resampler = Resampler(source, target)
    out = np.frombuffer(resampler.feed(tone) + resampler.end(), dtype="<i2").astype(float)
    assert len(out) == pytest.approx(target, abs=2)
    expected = 10_000 * np.sin(2 * np.pi * 440 * np.arange(len(out)) / target)
    assert np.abs(out - expected)[100:-100].max() < 60


def test_what_the_lower_rate_cannot_hold_is_taken_out() -> None:
    tone = (10_000 * np.sin(2 * np.pi * 6_000 * np.arange(24_000) / 24_000)).astype("<i2").tobytes()
    resampler = Resampler(24_000, 8_000)
    out = np.frombuffer(resampler.feed(tone) + resampler.end(), dtype="<i2").astype(float)
    assert np.abs(out[200:-200]).max() < 100


@given(st.lists(st.integers(0, 700), max_size=12), st.sampled_from(RATES))
def test_how_it_is_cut_changes_nothing(sizes: list[int], rates: tuple[int, int]) -> None:
    pcm = np.random.default_rng(7).integers(-20_000, 20_000, sum(sizes)).astype("<i2").tobytes()[: sum(sizes)]
    whole, pieces = Resampler(*rates), Resampler(*rates)
    expected = whole.feed(pcm) + whole.end()
    got, at = b"", 0
    for size in sizes:
        got += pieces.feed(pcm[at : at + size])
        at += size
    assert got + pieces.end() == expected


async def test_auto_speaks_without_a_server() -> None:
    voice = await choose_voice(read(SpeechSettings, {}))
    assert voice is not None
    await voice.synthesizer.close()
    assert (voice.info.stage, voice.info.name, voice.seats) == ("speak", "espeak", 8)
    assert "PARLEY_SPEECH_BASE_URL is not set" in voice.info.why


async def test_auto_takes_the_server_that_is_set() -> None:
    async with LlmServer(speech_server.good) as server:
        voice = await choose_voice(read(SpeechSettings, {"PARLEY_SPEECH_BASE_URL": server.url}))
        assert voice is not None
        assert voice.info.name == "openai"
        await voice.synthesizer.close()


async def test_auto_goes_on_where_the_server_is_away_and_a_named_one_does_not() -> None:
    environ = {"PARLEY_SPEECH_BASE_URL": "http://127.0.0.1:9", "PARLEY_SPEECH_PROBE_S": "0.5"}
    voice = await choose_voice(read(SpeechSettings, environ))
    assert voice is not None
    await voice.synthesizer.close()
    assert voice.info.name == "espeak"
    with pytest.raises(Unavailable, match="PARLEY_SPEECH_BASE_URL"):
        await choose_voice(read(SpeechSettings, {**environ, "PARLEY_SPEECH_ENGINE": "openai"}))


async def test_off_and_nothing_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await choose_voice(read(SpeechSettings, {"PARLEY_SPEECH_ENGINE": "off"})) is None

    async def broken(settings: SynthesizerSettings) -> registry.Opened:
        raise Unavailable("no library")

    monkeypatch.setitem(registry.SYNTHESIZERS, "espeak", registry.Registration(broken, seats=1))
    assert await choose_voice(SpeechSettings()) is None
    with pytest.raises(ConfigError, match="PARLEY_SPEECH_ENGINE"):
        read(SpeechSettings, {"PARLEY_SPEECH_ENGINE": "singing"})


async def test_a_refused_key_is_said() -> None:
    async with LlmServer(speech_server.good) as server:
        server.models_status = 401
        with pytest.raises(ConfigError, match="PARLEY_SPEECH_API_KEY"):
            await choose_voice(
                SpeechSettings(
                    engine="openai",
                    synthesizers=SynthesizerSettings(openai=OpenAISpeechSettings(base_url=server.url)),
                )
            )


async def test_speed_and_the_language_of_a_voice() -> None:
    engine = EspeakSynthesizer(EspeakSettings())
    text = "This is a sentence about nothing at all."
    usual = len(await speech_server.audio_of(engine, text))
    assert len(await speech_server.audio_of(engine, text, speed=2.0)) < 0.7 * usual
    assert len(await speech_server.audio_of(engine, text, language="en-US")) == pytest.approx(usual, rel=0.01)
    assert len(await speech_server.audio_of(engine, text, language="de")) != pytest.approx(usual, rel=0.001)
    await engine.close()


async def test_the_library_outlives_one_of_two_that_hold_it() -> None:
    one, other = EspeakSynthesizer(EspeakSettings()), EspeakSynthesizer(EspeakSettings())
    await one.close()
    assert len(await speech_server.audio_of(other)) > 10_000
    await other.close()
