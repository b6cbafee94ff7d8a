"""A real nginx in front of gateways, from the configuration that the project ships."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from parley_testkit.rabbit import free_port
from parley_testkit.stack import until

SHIPPED = Path(__file__).parents[2] / "infra" / "nginx" / "parley.conf"
LIMIT_S = 30.0


@dataclass
class Proxy:
    """Ports of ``http`` (answered with a redirect to https), ``https`` and ``plain`` (proxied without TLS)."""

    http: int
    https: int
    plain: int
    log: Path


def _changed(text: str, old: str, new: str) -> str:
    assert old in text, f"the shipped configuration has no {old!r}"
    return text.replace(old, new)


def configuration(folder: Path, gateways: Sequence[int], certificate: Path, key: Path, proxy: Proxy) -> str:
    """The shipped file with this test's ports and files, and its TLS server once more without TLS."""
    text = SHIPPED.read_text(encoding="utf-8")
    servers = "\n".join(f"    server 127.0.0.1:{port};" for port in gateways)
    text = _changed(text, "    server 127.0.0.1:8000; # one line for each gateway", servers)
    text = _changed(text, "listen 80;", f"listen 127.0.0.1:{proxy.http};")
    text = _changed(
        text, "listen 443 ssl;", f"listen 127.0.0.1:{proxy.https} ssl;\n    listen 127.0.0.1:{proxy.plain};"
    )
    text = _changed(text, "/etc/nginx/parley.pem", str(certificate))
    text = _changed(text, "/etc/nginx/parley.key", str(key))
    text = _changed(text, "/var/log/nginx/parley.log", str(proxy.log))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    return (
        f"{user}\ndaemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n{temporary}\n{text}\n}}\n"
    )


@contextmanager
def serving(folder: Path, gateways: Sequence[int], certificate: Path, key: Path) -> Iterator[Proxy]:
    """nginx, answering; ended by its own process id."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "these tests need nginx: ./task test brings it"
    proxy = Proxy(free_port(), free_port(), free_port(), folder / "access.log")
    file = folder / "nginx.conf"
    file.write_text(configuration(folder, gateways, certificate, key, proxy), encoding="utf-8")
    process = subprocess.Popen(
        [program, "-c", str(file), "-p", str(folder), "-e", str(folder / "error.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _answers(proxy, process, folder)
        yield proxy
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
        assert process.stderr is not None
        process.stderr.close()


def _answers(proxy: Proxy, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, f"nginx ended: {(folder / 'error.log').read_text()}"
        return httpx.get(f"http://127.0.0.1:{proxy.plain}/livez", timeout=2.0, trust_env=False).status_code == 200

    until(ready, "nginx answers", limit_s=LIMIT_S)
