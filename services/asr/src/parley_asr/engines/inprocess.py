"""What engines have in common that work in this process, and make nothing of a knowledge base's words."""

import time
from collections.abc import Sequence

from parley_asr.engine import Base


class InProcess:
    """That part of ``engine.Transcriber``."""

    def knows(self, base: Base, version: str) -> bool:  # noqa: ARG002 - the protocol's
        """See ``engine.Transcriber``."""
        return True

    def prepare(self, base: Base, version: str, texts: Sequence[str]) -> None:
        """See ``engine.Transcriber``."""

    def spent_s(self) -> float:
        """See ``engine.Transcriber``."""
        return time.process_time()

    def problem(self) -> str | None:
        """See ``engine.Transcriber``."""
        return None
