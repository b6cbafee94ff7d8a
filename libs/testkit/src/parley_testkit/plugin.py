"""Fixtures and house rules for every test: a category, a clean environment, no leaked task, virtual time on request."""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop

from parley_testkit.clock import VirtualClock, VirtualLoop
from parley_testkit.postgres import postgres_server, postgres_url, store_url
from parley_testkit.rabbit import missing_images_line, rabbit

__all__ = ["postgres_server", "postgres_url", "rabbit", "store_url"]

CATEGORIES = frozenset({"unit", "rabbit", "postgres", "e2e", "browser"})
_KEPT = ("PARLEY_TEST_",)
_CLEARED = ("PARLEY_", "AMQP_URL", "OTEL_")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker for virtual time."""
    config.addinivalue_line("markers", "virtual_time: runs on a loop that jumps to its next timer")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say aloud which brokers this run will not meet."""
    line = missing_images_line(config)
    return [line] if line else []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share a run (``-n``): see :mod:`parley_testkit.sharing`."""
    from parley_testkit.sharing import Sharing

    config.option.loadscopereorder = False
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests without a category: a run by category must not miss any."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        from parley_testkit.sharing import rank

        items.sort(key=rank)
    lost = sorted(
        {item.nodeid.split("::")[0] for item in items if not CATEGORIES & {mark.name for mark in item.iter_markers()}}
    )
    if lost:
        wanted = ", ".join(sorted(CATEGORIES))
        raise pytest.UsageError(
            f"no category in {', '.join(lost)}: set pytestmark = pytest.mark.unit (or another of {wanted})"
        )


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A virtual loop for tests marked ``virtual_time``, production's uvloop for ``rabbit``, else asyncio's own."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualLoop}
    if item.get_closest_marker("rabbit"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's shell reaches a test."""
    for name in list(os.environ):
        if name.startswith(_CLEARED) and not name.startswith(_KEPT):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    """Fail a test that leaves tasks running on its loop."""
    function = getattr(request, "function", None)
    if inspect.iscoroutinefunction(function):
        request.getfixturevalue("leaked_task_check")


@pytest.fixture
async def leaked_task_check() -> AsyncIterator[None]:
    """The check itself; set up first, so it looks after every other fixture has ended."""
    before = asyncio.all_tasks()
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
    if left:
        names = sorted(f"{task.get_name()} {task.get_coro()}" for task in left)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        pytest.fail(f"leaked asyncio tasks: {names}")


@pytest.fixture
async def virtual_clock() -> VirtualClock:
    """A clock that follows the virtual loop; the test must be marked ``virtual_time``."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "mark the test with pytest.mark.virtual_time"
    return VirtualClock(loop)
