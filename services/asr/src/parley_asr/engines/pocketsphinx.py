"""pocketsphinx with its bundled model: English, on any CPU, with nothing to download. Its accuracy is that of its age.

Decoding runs in child processes (``sphinx_child`` says why), each in its turn, so that a child is what one core does.
"""

import hashlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parley_asr.engine import Abilities, Base, Hint, Hypothesis, Outcome, Said, Samples
from parley_asr.engines.sphinx_child import read, write
from parley_protocol.codec import pack
from parley_runtime.config import setting
from parley_runtime.cores import cores
from parley_runtime.errors import EngineError
from parley_runtime.telemetry.logging import get_logger

NAME = "pocketsphinx"
MODEL = "en-us"
END_S = 5.0
MAKE_S = 60.0
READY = "ready"
"""File that says that a vocabulary is whole."""
MOST_BASES = 256
"""Bases whose words are expected at a time."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PocketsphinxSettings:
    """How much of the machine it may use."""

    processes: int = setting(
        "PARLEY_POCKETSPHINX_PROCESSES",
        0,
        "Processes that decode beside the worker's own; each keeps one core busy at most",
        unit="processes",
        zero="one for every two cores",
        minimum=0,
        maximum=64,
    )
    states: int = setting(
        "PARLEY_POCKETSPHINX_STATES",
        3000,
        "Hypotheses that are followed in a hundredth of a second; with fewer it is faster, and hears less well",
        zero="no bound",
        minimum=0,
    )
    decoders: int = setting(
        "PARLEY_POCKETSPHINX_DECODERS",
        4,
        "Decoders of each of them, of about 90 MB, made as they are needed; where more streams speak at once, the "
        "others are told no partial results",
        unit="decoders",
        minimum=1,
        maximum=256,
    )
    vocabularies: str = setting(
        "PARLEY_ASR_VOCABULARIES",
        ".parley/vocabularies",
        "Folder of the words of knowledge bases, which processes of one machine share",
    )


class Child:
    """One decoding process. ``call`` may be used by any thread; calls wait for each other."""

    def __init__(self, options: dict[str, Any], decoders: int) -> None:
        self._options = options
        self._decoders = decoders
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self.life = 0
        """Counts the processes that there have been."""
        self.open = 0
        """Recognitions that are open there."""
        self.trouble: str | None = None
        """Why no process could be started."""

    def call(self, life: int, *message: Any) -> Any:
        """What the child answers. Raises EngineError; also where the process ``life`` has ended."""
        with self._lock:
            if self._closed or life != self.life or self._process is None:
                raise EngineError("The recogniser's process has ended: the audio has to be heard again.")
            try:
                outcome, result = self._ask(self._process, message)
            except (OSError, EOFError) as error:
                self._end()
                raise EngineError("The recogniser's process ended: the audio has to be heard again.") from error
        if outcome != "ok":
            raise EngineError("The recogniser failed: " + str(result))
        return result

    def start(self) -> int:
        """Start the process where none runs; returns its number. Raises EngineError."""
        with self._lock:
            if self._process is None and not self._closed:
                self.life += 1
                self._process = self._spawn()
            return self.life

    def close(self) -> None:
        """End it. Idempotent."""
        process = self._process
        self._closed = True
        if process is not None:
            process.terminate()  # a call at work ends by it, too
        with self._lock:
            self._end()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "parley_asr.engines.sphinx_child"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        try:
            self._ask(process, (self._options, self._decoders))
        except (OSError, EOFError) as error:
            process.kill()
            process.wait()
            self.trouble = "The recogniser's process does not start; its messages are in the log."
            raise EngineError(self.trouble) from error
        self.trouble = None
        return process

    @staticmethod
    def _ask(process: subprocess.Popen[bytes], message: tuple[Any, ...]) -> list[Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        write(process.stdin, message)
        answer = read(process.stdout)
        if answer is None:
            raise EOFError
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        self.open = 0
        if process is None:
            return
        process.kill()
        process.wait(END_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        if not self._closed:
            log.warning("a decoding process ended", engine=NAME)


class SphinxRecognition:
    """One segment in one child."""

    def __init__(self, child: Child, number: int, vocabulary: str) -> None:
        self._child = child
        self._number = number
        self._text = ""
        self._over = False
        self._life = child.start()
        child.call(self._life, "open", number, vocabulary)
        child.open += 1

    def feed(self, samples: Samples) -> None:
        """See ``engine.Recognition``."""
        data = (np.clip(samples, -1.0, 1.0) * np.float32(32_767)).astype("<i2").tobytes()
        self._text = self._child.call(self._life, "feed", self._number, data)

    def partial(self) -> Hypothesis:
        """See ``engine.Recognition``. The last pass over a segment may change every word of it."""
        return Hypothesis(self._text)

    def finish(self) -> Outcome:
        """See ``engine.Recognition``."""
        self._leave()
        text, words = self._child.call(self._life, "finish", self._number)
        return Outcome(text, tuple(Said(*word) for word in words))

    def close(self) -> None:
        """See ``engine.Recognition``."""
        if self._over:
            return
        self._leave()
        try:
            self._child.call(self._life, "close", self._number)
        except EngineError as error:
            log.debug("a segment is given up with its process", reason=str(error))

    def _leave(self) -> None:
        self._over = True
        self._child.open = max(0, self._child.open - 1)


class PocketsphinxTranscriber:
    """See ``engine.Transcriber``."""

    name = NAME
    model = MODEL
    abilities = Abilities(languages=("en",), vocabularies=True)

    def __init__(self, settings: PocketsphinxSettings) -> None:
        self._settings = settings
        options = {"maxhmmpf": settings.states or -1}
        self.cores = settings.processes or max(1, int(cores()) // 2)
        self._children = [Child(options, settings.decoders) for _ in range(self.cores)]
        self._numbers = itertools.count()
        self._vocabularies: dict[Base, str] = {}
        """Folders, by base."""

    def start(self) -> None:
        """Start the processes. Blocks for a second or two. Raises EngineError."""
        for child in self._children:
            child.start()

    def open(self, hint: Hint) -> SphinxRecognition:
        """See ``engine.Transcriber``."""
        child = min(self._children, key=lambda one: one.open)
        return SphinxRecognition(child, next(self._numbers), self._vocabulary(hint))

    def knows(self, base: Base, version: str) -> bool:
        """See ``engine.Transcriber``. What another process of this machine has made is used."""
        folder = self._folder(base, version)
        if not (folder / READY).exists():
            return False
        self._use(base, folder)
        return True

    def prepare(self, base: Base, version: str, texts: Sequence[str]) -> None:
        """See ``engine.Transcriber``."""
        folder = self._folder(base, version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            command = [sys.executable, "-m", "parley_asr.engines.sphinx_words", made]
            done = subprocess.run(command, input=pack(list(texts)), timeout=MAKE_S, check=False)  # noqa: S603 - our own
            if done.returncode:
                raise EngineError("The vocabulary cannot be made; its messages are in the log.")
            (Path(made) / READY).touch()
            shutil.copytree(made, folder, dirs_exist_ok=True)
        self._use(base, folder)

    def _use(self, base: Base, folder: Path) -> None:
        """Whoever is heard from now on is heard with it; decoders that nobody uses read it before they are needed."""
        if self._vocabularies.get(base) == str(folder):
            return
        for child in self._children:
            child.call(child.start(), "learn", str(folder))
        self._vocabularies.pop(base, None)
        self._vocabularies[base] = str(folder)
        if len(self._vocabularies) > MOST_BASES:
            forgotten = next(iter(self._vocabularies))
            del self._vocabularies[forgotten]
            log.info("a base's words are expected no more until it is asked for again", kb=forgotten.name)

    def _folder(self, base: Base, version: str) -> Path:
        name = hashlib.sha256(f"{base.tenant}\0{base.name}\0{version}".encode()).hexdigest()[:24]
        return Path(self._settings.vocabularies).resolve() / name

    def spent_s(self) -> float:
        """See ``engine.Transcriber``."""
        return float(sum(child.call(child.start(), "spent_s") for child in self._children))

    def problem(self) -> str | None:
        """See ``engine.Transcriber``."""
        return next((child.trouble for child in self._children if child.trouble), None)

    def _vocabulary(self, hint: Hint) -> str:
        return self._vocabularies.get(hint.base, "") if hint.base is not None else ""

    def close(self) -> None:
        """See ``engine.Transcriber``."""
        for child in self._children:
            child.close()
