"""Stacks for the end-to-end tests: one with the extractive engine, one with the scripted one, others on demand."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from parley_testkit.rabbit import RabbitNode
from parley_testkit.stack import Lab, Stack

from .harness import INTERVAL_MS, TOKENS, parley


@pytest.fixture(scope="session")
def lab(rabbit: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Makes stacks on the private broker."""
    return Lab(rabbit, tmp_path_factory.mktemp("e2e"))


@pytest.fixture(scope="session")
def stack(lab: Lab, sample: Path) -> Iterator[Stack]:
    """The default installation: embedded retrieval, extractive answers, the sample documents in ``handbook``, and in
    ``default``, which clients ask that can name no base.
    """
    with lab.stack("default", PARLEY_ENGINE="extractive") as running:
        for kb in ("handbook", "default"):
            done = parley(running.url, "ingest", str(sample), "--kb", kb)
            assert done.returncode == 0, done.stderr + running.tails()
        yield running


@pytest.fixture(scope="session")
def scripted(lab: Lab) -> Iterator[Stack]:
    """Two gateways, one rag, two inference processes whose answers take about a second."""
    roles = {"rag": 1, "inference": 2, "gateway": 2}
    with lab.stack(
        "scripted",
        roles=roles,
        PARLEY_ENGINE="scripted",
        PARLEY_SCRIPT_TOKENS=str(TOKENS),
        PARLEY_SCRIPT_INTERVAL_MS=str(INTERVAL_MS),
    ) as running:
        yield running


@pytest.fixture
def make_stack(lab: Lab) -> Iterator[Callable[..., Stack]]:
    """A stack of the test's own: ``make_stack(name, roles=..., SETTING=...)``."""
    with ExitStack() as running:

        def make(name: str, **options: object) -> Stack:
            return running.enter_context(lab.stack(name, **options))  # type: ignore[arg-type]  # settings by name

        yield make


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of documents in English and Chinese."""
    folder = tmp_path_factory.mktemp("sample")
    for name, text in DOCUMENTS.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


DOCUMENTS = {
    "greenhouse.md": (
        "# Greenhouse\n\n## Watering\n\nThe tomatoes are watered at six in the morning with forty litres. "
        "The basil is watered only every third day.\n\n## Heating\n\nThe heating starts below eleven degrees. "
        "It runs on wood pellets.\n"
    ),
    "zh/鱼塘.md": (
        "# 鱼塘手册\n\n## 水温\n\n鲤鱼塘的水温应保持在二十二度左右。水温超过三十度时必须打开增氧机。\n\n"
        "## 喂食\n\n鲤鱼每天喂两次，早上七点和下午五点。\n"
    ),
    "office.txt": "The printer on the second floor is named Gutenberg. Its toner is ordered from Osnabrueck.\n",
}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the end of every process's log."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # pluggy's result
    if report.failed:
        lab = getattr(item, "funcargs", {}).get("lab")
        if isinstance(lab, Lab):
            for stack in lab.stacks:
                report.sections.append((f"logs of {stack.folder.name}", stack.tails()))
