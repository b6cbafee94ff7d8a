"""Memory that goes back to the system: when, and that it does."""

import asyncio
import platform
from pathlib import Path

import pytest

from parley_runtime import memory
from parley_runtime.memory import STEP, Freed, give_back

pytestmark = pytest.mark.unit

MIB = 1024 * 1024


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_little_is_not_worth_while() -> None:
    freed = Freed()
    assert not freed.due(STEP - 1)
    assert freed.due(STEP)


def test_what_has_been_given_back_is_not_given_back_again() -> None:
    freed = Freed()
    assert freed.due(3 * STEP)
    assert not freed.due(3 * STEP)
    assert not freed.due(4 * STEP - 1)
    assert freed.due(4 * STEP)


def test_what_was_used_in_between_is_given_back_anew() -> None:
    freed = Freed()
    assert freed.due(3 * STEP)
    assert not freed.due(STEP)
    assert freed.due(2 * STEP)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps its memory as it likes")
async def test_memory_freed_between_things_in_use_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EVERY_S", 0.01)
    pieces = [bytes(4000 + number % 7) for number in range(30_000)]
    held = pieces[::50]
    full = _resident()
    del pieces
    giving = asyncio.create_task(give_back())
    for _ in range(1000):
        if _resident() < full - 80 * MIB:
            break
        await asyncio.sleep(0.01)
    giving.cancel()
    assert _resident() < full - 80 * MIB
    assert len(held) == 600
