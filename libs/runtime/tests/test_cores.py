"""CPU as control groups give it out."""

import os
from pathlib import Path

import pytest

from parley_runtime.cores import cores

pytestmark = pytest.mark.unit


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def put(root: Path, **files: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def test_without_quota_it_is_what_it_may_run_on(tmp_path: Path, many: None) -> None:
    assert cores(tmp_path / "none", tmp_path / "none") == 64
    root = put(tmp_path, cpu__max="max 100000\n")
    assert cores(root, tmp_path / "none") == 64


@pytest.mark.parametrize(("text", "found"), [("150000 100000\n", 1.5), ("25000 50000\n", 0.5), ("nonsense\n", 64)])
def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path, many: None, text: str, found: float) -> None:
    root = put(tmp_path, cpu__max=text)
    assert cores(root, put(tmp_path, own="0::/\n") / "own") == found


def test_the_tightest_of_the_groups_above_counts(tmp_path: Path, many: None) -> None:
    own = put(tmp_path, own="0::/pods/one/asr\n") / "own"
    put(tmp_path / "pods", cpu__max="400000 100000")
    put(tmp_path / "pods" / "one", cpu__max="200000 100000")
    put(tmp_path / "pods" / "one" / "asr", cpu__max="max 100000")
    assert cores(tmp_path, own) == 2.0


def test_groups_of_the_first_version(tmp_path: Path, many: None) -> None:
    own = put(tmp_path, own="3:memory:/other\n2:cpu,cpuacct:/docker/abc\n") / "own"
    group = put(tmp_path / "cpu,cpuacct" / "docker" / "abc", cpu__cfs_period_us="100000")
    put(group, cpu__cfs_quota_us="-1\n")
    assert cores(tmp_path, own) == 64
    put(group, cpu__cfs_quota_us="300000\n")
    assert cores(tmp_path, own) == 3.0


def test_a_process_that_is_bound_to_a_core_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert cores(put(tmp_path, cpu__max="400000 100000"), tmp_path / "none") == 1.0
