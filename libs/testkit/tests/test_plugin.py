"""The house rules of tests are enforced."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from parley_testkit import rabbit

pytestmark = pytest.mark.unit

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run pytest on one module in a process of its own; returns (exit code, output)."""

    def run_module(source: str, **environ: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(source), encoding="utf-8")
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\nasyncio_mode=auto\nasyncio_default_fixture_loop_scope=function\nmarkers =\n    unit: x\n"
            "    rabbit: x\n    postgres: x\n    e2e: x\n    browser: x\n",
            encoding="utf-8",
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            cwd=tmp_path,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run_module


def test_a_module_without_a_category_is_refused(run: Run) -> None:
    code, output = run("def test_something() -> None: pass")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "no category in test_it.py" in output


def test_a_leaked_task_fails_its_test_and_no_other(run: Run) -> None:
    code, output = run(
        """
        import asyncio, pytest
        pytestmark = pytest.mark.unit
        async def test_leaks() -> None:
            asyncio.create_task(asyncio.sleep(60), name="the-leak")
        async def test_clean() -> None:
            await asyncio.create_task(asyncio.sleep(0))
        def test_plain() -> None: pass
        """
    )
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "leaked asyncio tasks" in output
    assert "the-leak" in output
    assert "3 passed, 1 error" in output


def test_no_setting_of_the_shell_reaches_a_test(run: Run) -> None:
    code, output = run(
        """
        import os, pytest
        pytestmark = pytest.mark.unit
        def test_environment() -> None:
            assert not {"PARLEY_PORT", "AMQP_URL", "OTEL_SERVICE_NAME"} & set(os.environ)
            assert os.environ["PARLEY_TEST_THING"] == "kept"
        """,
        PARLEY_PORT="1",
        AMQP_URL="amqp://elsewhere",
        OTEL_SERVICE_NAME="x",
        PARLEY_TEST_THING="kept",
    )
    assert code == pytest.ExitCode.OK, output


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbit, "engine_problem", lambda: "ConnectionError: no socket")
    monkeypatch.setenv(rabbit.IMAGES_ENV, "rabbitmq:3.10-management,local/rabbitmq:4.0")


def test_images_are_left_out_aloud_outside_ci(
    no_engine: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert rabbit.broker_ids() == ["debian-3.10"]
    monkeypatch.setattr(request.config.option, "markexpr", "")
    line = rabbit.missing_images_line(request.config)
    assert "NOT TESTED" in line
    assert "image-3.10, image-4.0" in line


def test_images_stay_and_fail_clearly_in_ci(no_engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert rabbit.broker_ids() == ["debian-3.10", "image-3.10", "image-4.0"]
    with pytest.raises(RuntimeError, match="start Docker"):
        rabbit.start_broker("image-4.0")
