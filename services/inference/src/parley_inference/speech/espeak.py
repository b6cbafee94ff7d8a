"""``espeak``: espeak-ng's voices, which need no model and no network. Chinese and English are told by the text, and a
text that mixes them is said by both voices in turn.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from parley_inference.speech.espeak_library import EspeakLibrary
from parley_inference.speech.resample import Resampler
from parley_inference.speech.scripts import CHINESE, clean, runs, speakable
from parley_inference.speech.synthesizer import Utterance
from parley_runtime.config import setting
from parley_runtime.errors import EngineError, EngineRejected, ParleyError, Unavailable

NAME = "espeak"
CHINESE_TAGS = ("zh", "cmn", "yue", "hak", "wuu")


@dataclass(frozen=True, slots=True, kw_only=True)
class EspeakSettings:
    """Settings of the embedded voices."""

    english: str = setting(
        "PARLEY_ESPEAK_VOICE", "en-us", "espeak-ng voice of all that is not Chinese, such as en-gb or en-us+f3"
    )
    chinese: str = setting("PARLEY_ESPEAK_VOICE_ZH", "cmn", "espeak-ng voice of Chinese characters")
    words: int = setting(
        "PARLEY_ESPEAK_WORDS", 170, "How fast espeak-ng speaks", unit="words per minute", minimum=80, maximum=450
    )


@dataclass(slots=True, eq=False)
class _Job:
    """One utterance between the loop and the thread. What arrives on the loop: audio, an error, or None at the end."""

    utterance: Utterance
    loop: asyncio.AbstractEventLoop
    arrived: "asyncio.Queue[bytes | ParleyError | None]" = field(default_factory=asyncio.Queue)
    stopped: bool = False

    def tell(self, what: bytes | ParleyError | None) -> None:
        """From the thread. A loop that is closed wants to know no more."""
        try:
            self.loop.call_soon_threadsafe(self.arrived.put_nowait, what)
        except RuntimeError:
            self.stopped = True


class EspeakSynthesizer:
    """One thread speaks for all utterances, one after the other: a second of audio takes it about two milliseconds.
    Raises Unavailable where the library cannot be loaded. Any number may be open; they share the thread.
    """

    name = NAME
    # The library begins each text where the last one has left the state of its filters: a few samples differ.
    deterministic = False

    def __init__(self, settings: EspeakSettings) -> None:
        self._settings = settings
        self._thread = _Thread.take()
        self._closed = False

    @property
    def model(self) -> str:
        """The voices."""
        return f"{self._settings.english}, {self._settings.chinese}"

    async def speak(self, utterance: Utterance) -> AsyncGenerator[bytes, None]:
        """See :class:`parley_inference.speech.synthesizer.Synthesizer`."""
        if self._closed:
            raise EngineError("espeak-ng has been closed")
        if not speakable(utterance.text):
            raise EngineRejected("there is nothing in this text that can be said")
        job = _Job(utterance, asyncio.get_running_loop())
        self._thread.pool.submit(self._say, job)
        try:
            while (what := await job.arrived.get()) is not None:
                if isinstance(what, ParleyError):
                    raise what
                yield what
        finally:
            job.stopped = True

    def problem(self) -> str | None:
        """Always fine."""
        return None

    async def close(self) -> None:
        """Let the thread go."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._thread.leave)

    # --- on the thread ----------------------------------------------------------------------------------------

    def _say(self, job: _Job) -> None:
        try:
            self._say_runs(job, self._thread.library)
        except ParleyError as error:
            job.tell(error)
        except Exception as error:
            job.tell(EngineError(f"espeak-ng failed: {type(error).__name__}"))
        else:
            job.tell(None)

    def _say_runs(self, job: _Job, library: EspeakLibrary) -> None:
        utterance = job.utterance
        resampler = Resampler(library.rate, utterance.rate)

        def heard(pcm: bytes) -> bool:
            if not job.stopped and (out := resampler.feed(pcm)):
                job.tell(out)
            return not job.stopped

        for script, text in runs(clean(utterance.text)):
            if job.stopped:
                return
            self._choose(library, script, utterance)
            library.say(text, round(self._settings.words * utterance.speed), heard)
        if rest := resampler.end():
            job.tell(rest)

    def _choose(self, library: EspeakLibrary, script: str, utterance: Utterance) -> None:
        """The first of these voices that exists."""
        chinese = script == CHINESE
        own = self._settings.chinese if chinese else self._settings.english
        language = "" if _primary(utterance.language) == _primary(own) else utterance.language
        asked = [name for name in (utterance.voice, language) if name and _chinese(name) == chinese]
        for name in (*asked, own, "cmn" if chinese else "en-us"):
            if name.isprintable() and len(name) <= 64 and library.voice(name):
                return
        raise EngineRejected(f"espeak-ng has no voice {own!r}; see PARLEY_ESPEAK_VOICE and PARLEY_ESPEAK_VOICE_ZH")


def _chinese(name: str) -> bool:
    return _primary(name) in CHINESE_TAGS


def _primary(name: str) -> str:
    return name.lower().split("-")[0].split("+")[0]


class _Thread:
    """The process's one thread that may call the library, while anybody holds it."""

    _lock = threading.Lock()
    _open: "_Thread | None" = None

    def __init__(self) -> None:
        self.holders = 0
        self.pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak")
        try:
            self.library = self.pool.submit(EspeakLibrary).result()
        except Unavailable:
            self.pool.shutdown()
            raise

    @classmethod
    def take(cls) -> "_Thread":
        """The thread, begun where nobody holds it."""
        with cls._lock:
            held = cls._open = cls._open or cls()
            held.holders += 1
            return held

    def leave(self) -> None:
        """The last holder ends it, and with it what it still says."""
        with self._lock:
            self.holders -= 1
            if self.holders:
                return
            type(self)._open = None
            self.pool.shutdown(cancel_futures=True)
            self.library.close()
