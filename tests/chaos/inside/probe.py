"""Runs one real service with hold points, a mutation and a wall clock of its own:

    python -m tests.chaos.inside.probe gateway|rag|inference|asr      (or by this file's path, from any folder)

Everything is patched in from here before the service's own ``__main__`` runs; Parley itself has no hooks. The service
takes its settings from the environment as always. Beside them:

    PARLEY_CHAOS_PROBE     unix socket of whoever listens at the hold points (``points``); empty: there are none
    PARLEY_CHAOS_MUTATION  the mechanism to switch off (``mutations``), or a file that names it; empty: none
    PARLEY_CHAOS_CLOCK     file with the number of seconds by which this process's wall clock (``time.time``) is wrong.
                           It may be replaced, or appear, at any time. Monotonic clocks are left alone

A patch that finds Parley changed ends the process with the name of what is missing.
"""

import os
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
ROLES: Final = ("gateway", "rag", "inference", "asr")
PROBE: Final = "PARLEY_CHAOS_PROBE"
MUTATION: Final = "PARLEY_CHAOS_MUTATION"
CLOCK: Final = "PARLEY_CHAOS_CLOCK"


def command(role: str) -> list[str]:
    """The command line that runs ``role`` here, from any folder."""
    return [sys.executable, str(Path(__file__).resolve()), role]


class WrongClock:
    """``time.time`` plus the offset in ``path``, read at every call: a clock that was turned is wrong at once."""

    def __init__(self, path: Path, time_s: Callable[[], float] = time.time) -> None:
        self._path = path
        self._time_s = time_s

    def __call__(self) -> float:
        """Seconds since 1970, as this process believes."""
        try:
            return self._time_s() + float(self._path.read_bytes())
        except FileNotFoundError:
            return self._time_s()


def prepare(role: str) -> None:
    """Patch this process as its environment says. Raises points.Changed."""
    from tests.chaos.inside import mutations, points

    if clock := os.environ.get(CLOCK):
        time.time = WrongClock(Path(clock))
    if path := os.environ.get(PROBE):
        points.install(role, path)
    if mutation := os.environ.get(MUTATION):
        mutations.apply(mutation, role)


def main(arguments: list[str]) -> None:
    """Never returns, except for a wrong command line."""
    if len(arguments) != 1 or arguments[0] not in ROLES:
        sys.exit(f"usage: python -m tests.chaos.inside.probe {'|'.join(ROLES)}")
    (role,) = arguments
    sys.path[:] = [str(ROOT), *(each for each in sys.path if Path(each or ".").resolve() != Path(__file__).parent)]
    prepare(role)
    runpy.run_module(f"parley_{role}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
