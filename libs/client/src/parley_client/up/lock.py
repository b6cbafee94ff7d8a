"""One `parley up` per data folder: an advisory lock that dies with its process, and who holds it."""

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parley_client.up.errors import UpError

_NAME = "up.lock"


@dataclass(frozen=True)
class Holder:
    """The running `up`: its process id, and its address once it has one."""

    pid: int
    address: str = ""


@contextmanager
def hold(folder: Path) -> Iterator[Path]:
    """Holds the lock of `folder` for the body; yields the lock file, which `describe` fills in.

    The kernel frees the lock when the process ends, however it ends. Raises UpError naming the holder when another
    process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(_taken(folder, _read(path))) from None
        describe(path, Holder(os.getpid()))
        try:
            yield path
        finally:
            file.truncate(0)


def describe(path: Path, holder: Holder) -> None:
    """Writes who holds the lock. Only the holder calls this."""
    path.write_text(json.dumps({"pid": holder.pid, "address": holder.address}), encoding="utf-8")


def holder(folder: Path) -> Holder | None:
    """Who runs `up` in `folder`, or None when nobody does."""
    path = folder / _NAME
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read(path)
    return None


async def stop(folder: Path, *, within: float) -> Holder | None:
    """Asks the `up` of `folder` to stop and waits at most `within` seconds for it; None when nothing ran.

    Raises UpError when it is still there after that.
    """
    found = holder(folder)
    if found is None:
        return None
    if found.pid:
        os.kill(found.pid, signal.SIGTERM)
    try:
        async with asyncio.timeout(within):
            while True:
                if holder(folder) is None:
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise UpError(
            f"Process {found.pid} has not stopped within {within:g} s: see {folder / 'logs'}, or end it with "
            f"`kill -9 {found.pid}`; its services end with it."
        ) from None


def _read(path: Path) -> Holder:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(found["pid"]), str(found["address"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0)


def _taken(folder: Path, found: Holder) -> str:
    where = f" at {found.address}" if found.address else ""
    return (
        f"Parley already runs from {folder} (process {found.pid}){where}. "
        "Stop it with `parley down`, or give this one its own folder with --data."
    )
