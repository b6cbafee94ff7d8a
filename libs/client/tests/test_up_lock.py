"""One `up` per folder, and how it is stopped from another terminal."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parley_client.up import lock
from parley_client.up.errors import UpError

pytestmark = pytest.mark.e2e

HOLD = """
import signal, sys
from pathlib import Path
from parley_client.up import lock

with lock.hold(Path(sys.argv[1])) as held:
    lock.describe(held, lock.Holder(__import__("os").getpid(), "http://127.0.0.1:8000"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "deaf" else lambda *_: sys.exit(0))
    print("held", flush=True)
    signal.pause()
"""


def hold_elsewhere(folder: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), how], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def end(process: subprocess.Popen[str]) -> int:
    if process.poll() is None:
        process.kill()
    return process.wait(10)


def test_a_second_up_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    other = hold_elsewhere(tmp_path, "kind")
    try:
        with (
            pytest.raises(UpError, match=rf"process {other.pid}\) at http://127\.0\.0\.1:8000.*parley down"),
            lock.hold(tmp_path),
        ):
            pytest.fail("the lock was given twice")
        assert lock.holder(tmp_path) == lock.Holder(other.pid, "http://127.0.0.1:8000")
    finally:
        end(other)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    end(hold_elsewhere(tmp_path, "kind"))
    assert lock.holder(tmp_path) is None
    with lock.hold(tmp_path):
        assert lock.holder(tmp_path) == lock.Holder(os.getpid())
    assert lock.holder(tmp_path) is None


async def test_down_stops_the_holder_and_waits_for_it(tmp_path: Path) -> None:
    other = hold_elsewhere(tmp_path, "kind")
    try:
        assert await lock.stop(tmp_path, within=10.0) == lock.Holder(other.pid, "http://127.0.0.1:8000")
        assert other.wait(10) == 0
        assert await lock.stop(tmp_path, within=10.0) is None
    finally:
        end(other)


async def test_down_says_so_when_the_holder_does_not_stop(tmp_path: Path) -> None:
    other = hold_elsewhere(tmp_path, "deaf")
    try:
        with pytest.raises(UpError, match=rf"Process {other.pid} has not stopped within 0\.3 s.*kill -9 {other.pid}"):
            await lock.stop(tmp_path, within=0.3)
    finally:
        assert end(other) == -signal.SIGKILL
