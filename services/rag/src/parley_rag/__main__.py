"""``python -m parley_rag``: run one rag process until a signal."""

from parley_rag.app import build
from parley_rag.config import RagSettings
from parley_runtime.lifecycle import main

if __name__ == "__main__":
    main("rag", RagSettings, build)
