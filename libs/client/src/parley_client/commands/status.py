"""`parley status`: what runs, what waits, how fast it is."""

import sys

import msgspec
from rich.table import Table

from parley_client.api import Api, StatusInfo
from parley_client.commands import common
from parley_protocol.control import Presence


def status(as_json: common.AsJson = False, url: common.Url = common.DEFAULT_URL, token: common.Token = None) -> None:
    """Queues with their consumers, gateways and workers with their engines, seats and latencies."""
    info = common.run(_status(url, token))
    if as_json:
        sys.stdout.write(msgspec.json.encode(info).decode() + "\n")
        return
    common.out.print(f"broker {common.escape(info.broker)}")
    common.out.print(_queues(info))
    common.out.print(_processes(info))


async def _status(url: str, token: str | None) -> StatusInfo:
    async with Api(url, token=token, timeout_s=10.0) as api:
        return await api.status()


def _queues(info: StatusInfo) -> Table:
    table = Table("queue", "waiting", "consumers", box=None, title_justify="left")
    for queue in info.queues:
        alarm = queue.ready > 0 and queue.consumers == 0
        style = "red" if alarm else None
        table.add_row(common.escape(queue.name), str(queue.ready), str(queue.consumers), style=style)
    return table


def _processes(info: StatusInfo) -> Table:
    table = Table("process", "host", "up", "ready", "work", "engines", "latency", box=None)
    table.columns[0].no_wrap = True
    for process in sorted(info.processes, key=lambda row: (row.role, row.id)):
        table.add_row(
            common.escape(process.id),
            common.escape(f"{process.host}:{process.pid}"),
            f"{process.uptime_s:.0f} s",
            "yes" if process.ready else "[red]no[/red]",
            _work(process),
            common.escape(", ".join(f"{engine.stage}: {engine.name}" for engine in process.engines)),
            common.escape(", ".join(f"{name} {value:.1f} ms" for name, value in process.latencies.items())),
        )
    return table


def _work(process: Presence) -> str:
    if process.role == "gateway":
        return f"{process.sockets} sockets, {process.sessions} sessions"
    return f"{process.busy} of {process.seats} seats"
