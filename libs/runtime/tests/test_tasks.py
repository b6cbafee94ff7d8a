"""Tasks that nobody waits for: kept, logged when they fail, ended with their part."""

import asyncio

import pytest
import structlog

from parley_runtime.tasks import Tasks

pytestmark = pytest.mark.unit


async def test_one_that_fails_is_logged_with_its_part() -> None:
    async def fail() -> None:
        raise ValueError("why")

    tasks = Tasks("audio")
    with structlog.testing.capture_logs() as logged:
        task = tasks.spawn(fail())
        await asyncio.wait([task])
        await tasks.close()
    assert [(line["event"], line["part"], str(line["exc_info"])) for line in logged] == [
        ("task failed", "audio", "why")
    ]


async def test_at_the_end_what_can_settle_does_and_the_rest_is_cancelled() -> None:
    ended: list[str] = []
    go = asyncio.Event()

    async def settle() -> None:
        await go.wait()
        ended.append("settled")

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    tasks = Tasks("audio")
    tasks.spawn(settle())
    hanging = tasks.spawn(hang())
    asyncio.get_running_loop().call_soon(go.set)
    await tasks.close(0.05)
    assert ended == ["settled", "cancelled"]
    assert hanging.cancelled()
