"""What is said: synthesised by the project's own synthesizer, with noise and without, and recorded by people.

Recordings come with Debian's ``pocketsphinx-testdata``: sentences of several people, with their transcripts. Where the
package is not installed, it is downloaded and unpacked into ``.parley``, which takes no rights; where that is not
possible, the report says so.
"""

import asyncio
import re
import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.stack import ROOT
from parley_asr.engine import RATE, Samples
from parley_asr.engines.scripted import WORDS, speak
from parley_inference.speech.espeak import EspeakSettings, EspeakSynthesizer
from parley_inference.speech.synthesizer import Utterance

SENTENCES = (
    "what does a gateway publish to the broker",
    "how long is a session kept after its socket is gone",
    "which worker holds the lease of a stream",
    "what happens when the broker is restarted",
    "where is the record of a turn stored",
    "how many turns of a session may wait",
    "who cites the sources of an answer",
    "what does the client do after a reconnect",
)
"""Questions about this project, none of which its documents hold word by word."""
VOICES = ("en-us", "en-gb", "en-us+f3", "en-us+m3")
PACKAGE = "pocketsphinx-testdata"
_INSTALLED = Path("/usr/share/pocketsphinx/test/data")
_UNPACKED = ROOT / ".parley" / "speech"
_LINE = re.compile(r"<s>(.*)</s>\s*\(([\w.-]+)\)")
_RAW = {"goforward": "go forward ten meters", "something": "go somewhere and do something"}
"""Recordings that the package's own tests name the words of."""


@dataclass(frozen=True)
class Clip:
    """PCM, 16 bits, mono, 16 kHz, and what is said in it."""

    name: str
    text: str
    pcm: bytes

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / RATE

    @property
    def samples(self) -> Samples:
        """As engines take it."""
        return (np.frombuffer(self.pcm, "<i2") / 32_768).astype(np.float32)


def clip(name: str, text: str, samples: Samples) -> Clip:
    """Of floats."""
    return Clip(name, text, (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())


async def synthesised(
    sentences: Sequence[str] = SENTENCES, voices: Sequence[str] = VOICES[:1], speed: float = 1.0
) -> list[Clip]:
    """Each sentence by each voice, with a third of a second of silence around it."""
    synthesizer = EspeakSynthesizer(EspeakSettings())
    around = bytes(2 * RATE // 3)
    made = []
    try:
        for voice in voices:
            for text in sentences:
                said = Utterance(text=text, rate=RATE, voice=voice, speed=speed)
                pcm = b"".join([piece async for piece in synthesizer.speak(said)])
                made.append(Clip(f"{voice} x{speed:g}", text, around + pcm + around))
    finally:
        await synthesizer.close()
    return made


def noisy(clean: Clip, snr_db: float, seed: int = 1) -> Clip:
    """With the noise of a room: random, weaker towards high frequencies, ``snr_db`` below the speech."""
    samples = clean.samples
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples.size))
    spectrum /= np.sqrt(np.maximum(1.0, np.arange(spectrum.size) / 50))
    noise = np.fft.irfft(spectrum, samples.size)
    speech = samples[np.abs(samples) > 0.01]
    power = float(np.sqrt(np.mean(np.square(speech)))) if speech.size else 0.1
    noise *= power / 10 ** (snr_db / 20) / float(np.sqrt(np.mean(np.square(noise))))
    return replace(clip(f"{clean.name}, noise {snr_db:g} dB", clean.text, (samples + noise).astype(np.float32)))


def tones(count: int, seed: int = 0) -> Clip:
    """``count`` words that the scripted engine hears."""
    words = [WORDS[(seed * 5 + index * 7 + index // 13) % len(WORDS)] for index in range(count)]
    return clip(f"{count} tones", " ".join(words), speak(words))


def _transcripts(folder: Path) -> list[Clip]:
    found = []
    for listing in sorted((*folder.glob("*/transcription"), *folder.glob("*/*.transcription"))):
        for text, name in _LINE.findall(listing.read_text(encoding="utf-8")):
            path = listing.with_name(f"{name}.wav")
            if path.exists():
                with wave.open(str(path)) as file:
                    if file.getframerate() == RATE and file.getnchannels() == 1:
                        found.append(
                            Clip(listing.parent.name, " ".join(text.split()), file.readframes(file.getnframes()))
                        )
    for name, text in _RAW.items():
        path = folder / f"{name}.raw"
        if path.exists():
            found.append(Clip("commands", text, path.read_bytes()))
    return found


async def recorded() -> tuple[list[Clip], str]:
    """Recordings, and where they are from or why there are none."""
    for folder in (_INSTALLED, _UNPACKED / _INSTALLED.relative_to("/")):
        if found := _transcripts(folder):
            return found, f"{PACKAGE}: {len(found)} recordings"
    problem = await asyncio.to_thread(_download)
    found = _transcripts(_UNPACKED / _INSTALLED.relative_to("/"))
    return found, f"{PACKAGE}: {len(found)} recordings" if found else f"no recordings: {problem}"


def _download() -> str:
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            ["apt-get", "download", "-qq", PACKAGE], cwd=_UNPACKED, check=True, capture_output=True, timeout=60
        )
        for package in _UNPACKED.glob(f"{PACKAGE}_*.deb"):
            subprocess.run(
                ["dpkg-deb", "-x", str(package), str(_UNPACKED)], check=True, capture_output=True, timeout=60
            )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{PACKAGE} cannot be downloaded ({type(error).__name__})"
    return f"{PACKAGE} holds none"
