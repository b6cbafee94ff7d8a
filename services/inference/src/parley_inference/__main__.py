"""``python -m parley_inference``: the generation stage, configured by the environment (docs/settings.md)."""

from parley_inference.app import ROLE, build
from parley_inference.config import InferenceSettings
from parley_runtime.lifecycle import main

if __name__ == "__main__":
    main(ROLE, InferenceSettings, build)
