"""What the end-to-end tests have in common: the scripted answer, the command, and rows read from the database."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parley_testkit.stack import KEPT, Lab, Service, Stack

__all__ = ["Lab", "Service", "Stack"]

TOKENS = 40
INTERVAL_MS = 30
WHOLE = " ".join(f"t{index}" for index in range(1, TOKENS + 1))
"""What the scripted engine answers, in 1.2 s."""
BIN = Path(sys.executable).parent


def parley(url: str, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command, as a person runs it."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return subprocess.run(
        [str(BIN / "parley"), *arguments],
        env=kept | {"PARLEY_URL": url, "COLUMNS": "200", "NO_COLOR": "1"} | dict(environ or {}),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def stored(stack: Stack, wanted: str, *, by: str = "turn") -> list[dict[str, Any]]:
    """Rows of a turn or a question, read from the database itself: tenant, session, status, question, text."""
    value = {"turn": wanted, "question": json.dumps(wanted)}[by]
    path = stack.store.removeprefix("sqlite+aiosqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
        query = f"SELECT tenant, session, status, question, text FROM turns WHERE {by} = ?"
        rows = database.execute(query, (value,))
        return [
            {
                "tenant": tenant,
                "session": session,
                "status": status,
                "question": json.loads(question),
                "text": None if text is None else json.loads(text),
            }
            for tenant, session, status, question, text in rows
        ]
