"""One service as a process of its own, as an operator would start it, and what it says in its log."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

SAYS_S = 60.0
"""A guard: no test asserts how long a service takes to say something."""


@asynccontextmanager
async def running(
    module: str, *, folder: Path | None = None, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``python -m module`` with these settings and no others, in ``folder``; killed at the end where it still runs."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env={"PATH": os.environ["PATH"], **environ},
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def says(child: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """The next log line with ``event``."""
    assert child.stderr is not None
    async with asyncio.timeout(SAYS_S):
        while True:
            line = await child.stderr.readline()
            assert line, "the process ended early"
            fields: dict[str, object] = json.loads(line)
            if fields["event"] == event:
                return fields
