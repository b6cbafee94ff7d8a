"""``python -m parley_asr``: the listening stage, configured by the environment (docs/settings.md)."""

from parley_asr.app import ROLE, build
from parley_asr.config import AsrSettings
from parley_runtime.lifecycle import main

if __name__ == "__main__":
    main(ROLE, AsrSettings, build)
