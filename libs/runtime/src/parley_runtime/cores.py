"""The CPU that this process may use, which in a container is less than the machine has."""

import contextlib
import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cores(root: Path = ROOT, own: Path = OWN) -> float:
    """Cores that it can keep busy: those it may run on, or fewer where a control group (version 1 or 2) of its own, or
    one above it, has a quota of CPU time. Above 0. What cannot be read is no quota.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(bound), *_quotas(root, own)])


def _quotas(root: Path, own: Path) -> list[float]:
    found: list[float] = []
    for folder in _folders(root, own):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            found += _share(quota, period)
        with contextlib.suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{part}_us").read_text().strip() for part in ("quota", "period"))
            found += _share(quota, period)
    return found


def _share(quota: str, period: str) -> list[float]:
    """Cores; none where the quota is ``max`` or -1."""
    if quota == "max" or int(quota) <= 0 or int(period) <= 0:
        return []
    return [int(quota) / int(period)]


def _folders(root: Path, own: Path) -> set[Path]:
    """Of the groups it belongs to, as far as they are seen from here, and of those above them."""
    found = {root, root / "cpu", root / "cpu,cpuacct"}
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and "cpu" not in controllers.split(","):
                continue
            base = root / controllers if controllers else root
            parts = Path(path.lstrip("/")).parts
            found |= {base.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1) if ".." not in parts}
    return found
