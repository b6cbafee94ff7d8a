"""Installs Debian packages without starting, or enabling, the services that come with them."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from parley_client.up.child import output_of
from parley_client.up.errors import UpError
from parley_client.up.report import Step

INSTALL_WITHIN = 900.0
"""Seconds that an installation may take."""

_POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# written by parley while it installs packages; nothing is started meanwhile\nexit 101\n"


async def install(packages: Sequence[str], units: Sequence[str], step: Step) -> None:
    """Installs `packages` with apt-get as root, or through a sudo that asks nothing.

    Guaranteed: no service of theirs is started, and of `units` those that were not there before are not enabled
    either. Raises UpError saying what to run by hand where this user may not install, or apt-get fails.
    """
    if shutil.which("apt-get") is None:
        raise UpError(f"This system has no apt-get: install {' '.join(packages)} with its own package manager.")
    prefix = await _become_root(packages)
    new = [unit for unit in units if not _known(unit)]
    async with _nothing_starts(prefix, own_policy=_has_policy()):
        step.now(f"installing {' '.join(packages)} with apt-get")
        code, printed = await _apt(prefix, packages)
        if code != 0:
            step.now("refreshing the package lists")
            await output_of(*prefix, "apt-get", "update", within=INSTALL_WITHIN)
            step.now(f"installing {' '.join(packages)} with apt-get")
            code, printed = await _apt(prefix, packages)
    for unit in new:
        # Both, since a machine without systemd starts services by their links in /etc/rc?.d.
        await output_of(*prefix, "systemctl", "disable", unit, within=30.0)
        if unit.endswith(".service"):
            await output_of(*prefix, "update-rc.d", unit.removesuffix(".service"), "disable", within=30.0)
    if code != 0:
        last = "\n    ".join(printed.splitlines()[-5:])
        raise UpError(f"apt-get could not install {' '.join(packages)} (code {code}):\n    {last}")


async def _apt(prefix: Sequence[str], packages: Sequence[str]) -> tuple[int, str]:
    command = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages)
    return await output_of(*prefix, "env", "DEBIAN_FRONTEND=noninteractive", *command, within=INSTALL_WITHIN)


async def _become_root(packages: Sequence[str]) -> list[str]:
    if os.geteuid() == 0:
        return []
    code, _ = await output_of("sudo", "--non-interactive", "true", within=5.0)
    if code != 0:
        raise UpError(f"This user may not install packages. Run: sudo apt-get install {' '.join(packages)}")
    return ["sudo", "--non-interactive"]


def _known(unit: str) -> bool:
    return any((Path(folder) / unit).exists() for folder in ("/lib/systemd/system", "/etc/systemd/system"))


def _has_policy() -> bool:
    return _POLICY.exists()


@asynccontextmanager
async def _nothing_starts(prefix: Sequence[str], *, own_policy: bool) -> AsyncIterator[None]:
    """Debian's maintainer scripts ask policy-rc.d before they start a service; one that is there already stays."""
    if own_policy:
        yield
        return
    write = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(sys.argv[2]); p.chmod(0o755)"
    await output_of(*prefix, sys.executable, "-I", "-S", "-c", write, str(_POLICY), _POLICY_TEXT, within=10.0)
    try:
        yield
    finally:
        await output_of(*prefix, "rm", "-f", str(_POLICY), within=10.0)
