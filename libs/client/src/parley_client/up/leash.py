"""Becomes another program that is told to stop when its parent dies, even when the parent is killed with SIGKILL.

Run as a script, `leash.py PARENT SIGNAL PROGRAM [ARGUMENT...]`; it uses the standard library only and starts in about
20 ms under `python -I -S`. On systems without Linux's prctl it only starts the program.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ties this process to PARENT, then replaces it with PROGRAM. Exits 0 at once when PARENT is gone already."""
    parent, number, *program = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != int(parent):
        return
    try:
        os.execvp(program[0], program)  # noqa: S606 - the caller names the program, no shell is involved
    except OSError as error:
        sys.exit(f"{program[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
