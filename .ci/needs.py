"""Brings what the tests need and the machine lacks: `needs.py rabbitmq postgresql nginx chromium wscat openai ...`."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from parley_client.up import broker, container, node, packages
from parley_client.up.child import output_of
from parley_client.up.errors import UpError
from parley_client.up.report import Report, Step

IMAGES = "rabbitmq:3.10-management,rabbitmq:4.0-management"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_WITHIN = 900.0
TOOLS = Path(__file__).resolve().parents[1] / ".parley" / "tools"
WSCAT_VERSION = "6.1.0"
OPENAI_VERSION = "7.59.0"
WS_VERSION = "8.23.0"
NPM_WITHIN = 300.0
SBIN = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
"""Where daemons are, also for users whose PATH leaves them out."""


async def rabbitmq(step: Step) -> str:
    """RabbitMQ's program; tests start their own nodes of it."""
    if node.server() is None:
        await packages.install(broker.PACKAGES, broker.UNITS, step)
    return f"RabbitMQ: {node.server()}"


async def postgresql(step: Step) -> str:
    """PostgreSQL's programs; tests start their own server."""
    if not _initdb():
        await packages.install(("postgresql",), ("postgresql.service",), step)
    return f"PostgreSQL: {_initdb()}"


async def chromium(step: Step) -> str:
    """A Chromium, and a font with Chinese in it."""
    if not _chromium():
        if _debian():
            await packages.install(("chromium",), (), step)
        else:
            step.now("playwright install chromium")
            argv = (sys.executable, "-m", "playwright", "install", "--with-deps", "chromium")
            code, printed = await output_of(*argv, within=BROWSER_WITHIN)
            if code != 0:
                raise UpError(f"playwright could not install Chromium:\n{printed[-500:]}")
    code, fonts = await output_of("fc-list", ":lang=zh", "family", within=30.0)
    if code != 0 or not fonts:
        await packages.install(("fontconfig", "fonts-noto-cjk"), (), step)
    return f"Chromium: {_chromium()}"


async def nginx(step: Step) -> str:
    """nginx's program; tests start their own server of it."""
    if not shutil.which("nginx", path=SBIN):
        await packages.install(("nginx",), ("nginx.service",), step)
    return f"nginx: {shutil.which('nginx', path=SBIN)}"


async def wscat(step: Step) -> str:
    """The WebSocket client of npm that guides use, at a pinned version, in the project's own tools."""
    await _npm("wscat", {"wscat": WSCAT_VERSION}, step)
    return f"wscat: {WSCAT_VERSION}"


async def openai(step: Step) -> str:
    """OpenAI's client for JavaScript, and the WebSocket library that it wants beside it."""
    await _npm("openai", {"openai": OPENAI_VERSION, "ws": WS_VERSION}, step)
    return f"openai for JavaScript: {OPENAI_VERSION}"


async def _npm(tool: str, versions: dict[str, str], step: Step) -> None:
    folder = TOOLS / tool
    if all(_installed(folder, name) == version for name, version in versions.items()):
        return
    if not shutil.which("npm"):
        await packages.install(("nodejs", "npm"), (), step)
    wanted = [f"{name}@{version}" for name, version in versions.items()]
    step.now(f"npm install {' '.join(wanted)}")
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--prefix", str(folder), "--no-audit", "--no-fund", "--no-save", "--ignore-scripts")
    code, printed = await output_of("npm", "install", *options, *wanted, within=NPM_WITHIN)
    if code != 0:
        raise UpError(f"npm could not install {tool}:\n{printed[-500:]}")


def _installed(folder: Path, name: str) -> str:
    package = folder / "node_modules" / name / "package.json"
    return str(json.loads(package.read_text(encoding="utf-8"))["version"]) if package.exists() else ""


async def images(step: Step) -> str:
    """The broker images of the contract suite, where a Docker engine answers."""
    if not await container.engine_answers():
        return "broker images: no Docker engine answers"
    wanted = os.environ.get("PARLEY_TEST_RABBITMQ_IMAGES", "") or IMAGES
    for image in wanted.split(","):
        if not await container.have_image(image, step):
            raise UpError(f"The image {image} is neither there nor to be had: set PARLEY_TEST_RABBITMQ_IMAGES.")
    return f"broker images: {wanted}"


def _initdb() -> str:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1]) if found else shutil.which("initdb") or ""


def _chromium() -> str:
    bundled = sorted((Path.home() / ".cache" / "ms-playwright").glob("chromium-*"))
    return next(filter(None, map(shutil.which, CHROMIUMS)), None) or (str(bundled[-1]) if bundled else "")


def _debian() -> bool:
    release = Path("/etc/os-release")
    return release.exists() and "ID=debian" in release.read_text(encoding="utf-8").splitlines()


async def main(names: list[str]) -> None:
    """Brings each of `names`; ends with a message where that is not possible."""
    report = Report()
    known: dict[str, Callable[[Step], Awaitable[str]]] = {
        "rabbitmq": rabbitmq,
        "postgresql": postgresql,
        "chromium": chromium,
        "nginx": nginx,
        "wscat": wscat,
        "openai": openai,
        "images": images,
    }
    for name in names:
        try:
            with report.step(name) as step:
                step.done = await known[name](step)
        except UpError as error:
            report.bad(str(error))
            sys.exit(error.exit_code)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
