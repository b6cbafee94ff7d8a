"""`parley up` from its first line to its last: lock, ports, broker, services, sample, and everything undone again."""

import asyncio
import os
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from parley_client.api import DEFAULT_URL, Api
from parley_client.errors import ClientError
from parley_client.tokens import make_token
from parley_client.up import health, lock, plan, sample, sample_review
from parley_client.up.broker import BrokerSettings, choose
from parley_client.up.errors import UpError
from parley_client.up.report import Report
from parley_client.up.settings import UpSettings
from parley_client.up.supervisor import Supervisor, limits


async def up(settings: UpSettings, report: Report) -> int:
    """Runs until Ctrl-C, SIGTERM or a failed start; returns the exit code, 0 after a clean stop.

    Guaranteed: whichever way it ends, no process it started is left, and a broker that was there before is untouched.
    """
    try:
        with lock.hold(settings.data) as held:
            plan.check_ports(settings)
            async with httpx.AsyncClient(trust_env=False) as client:
                return await _supervised(settings, report, client, held)
    except UpError as error:
        report.bad(str(error))
        return error.exit_code
    except OSError as error:
        report.bad(f"{error}. Is there room on the disk, and may this user write to {settings.data}?")
        return 1


async def _supervised(settings: UpSettings, report: Report, client: httpx.AsyncClient, held: Path) -> int:
    supervisor = Supervisor(report, client, limits=limits(settings))
    work = asyncio.create_task(_work(settings, report, client, held, supervisor), name="up")
    signals = Signals(report, supervisor, work)
    signals.listen()
    try:
        await work
    except asyncio.CancelledError:
        if not signals.count:
            raise
    except UpError as error:
        report.bad(str(error))
        return error.exit_code
    finally:
        await supervisor.stop()
    report.good("stopped; queues, conversations and knowledge bases are kept in " + str(settings.data))
    return 0


SAME_SIGNAL_S = 1.0
"""A second signal within so many seconds is the first one again: a terminal and a wrapper often both send it."""


class Signals:
    """The first Ctrl-C or SIGTERM stops cleanly, the next one hurries."""

    def __init__(
        self,
        report: Report,
        supervisor: Supervisor,
        work: "asyncio.Task[None]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count = 0
        self._first_at = 0.0
        self._clock = clock
        self._report = report
        self._supervisor = supervisor
        self._work = work

    def listen(self) -> None:
        """Takes over Ctrl-C, SIGTERM and the end of the terminal for the rest of the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.arrived)

    def arrived(self) -> None:
        """One signal."""
        now = self._clock()
        if self.count and now - self._first_at < SAME_SIGNAL_S:
            return
        self.count += 1
        if self.count == 1:
            self._first_at = now
            self._report.line()
            self._report.line("stopping: gateways first, then workers, then the broker (Ctrl-C again to hurry)")
            self._work.cancel()
        else:
            self._report.line("hurrying: what has not stopped yet is killed")
            self._supervisor.hurry()


async def _work(
    settings: UpSettings, report: Report, client: httpx.AsyncClient, held: Path, supervisor: Supervisor
) -> None:
    broker_settings = BrokerSettings.read(settings.env, settings.data)
    url = await supervisor.provide(lambda step: choose(broker_settings, report, step))
    services = plan.services(settings, url)

    async def once_ready() -> None:
        lock.describe(held, lock.Holder(os.getpid(), settings.address))
        if settings.sample:
            await _load_sample(settings, report)
            await _load_review(settings, report)
        chosen = await health.engines(client, [service.health for service in services])
        _greet(settings, report, chosen)

    await supervisor.run(services, url, once_ready)


def _greet(settings: UpSettings, report: Report, engines: list[health.Engine]) -> None:
    report.line()
    report.title(f"Parley is up at {settings.address}")
    for engine in engines:
        report.line(f"  {engine.stage:<10} {engine.name}: {engine.why}")
    where = "" if settings.address == DEFAULT_URL else f"--url {settings.address} "
    report.line(f"  ask        ./task ask {where}'What happens to a turn when its worker dies?'  (or open the address)")
    if settings.env.get("PARLEY_AUTH_SECRET") and not settings.env.get("PARLEY_TOKEN"):
        report.line("  tokens     export PARLEY_TOKEN=$(./task token --sub me --owner)  (clients need one)")
    report.line(f"  logs       {settings.data / 'logs'}")
    report.line(f"  data       {settings.data}")
    report.line("  stop       Ctrl-C here, or ./task down in another terminal")


def _token(env: Mapping[str, str]) -> str | None:
    """The token that is given, else one made with the gateways' secret where they have one."""
    given = env.get("PARLEY_TOKEN")
    return given or (make_token(env, "parley-up", owner=True) if env.get("PARLEY_AUTH_SECRET") else None)


def _trusted(settings: UpSettings) -> ssl.SSLContext | None:
    """The gateways' own certificate, whatever name it was made for: it is this machine that is spoken to."""
    if not settings.certificate:
        return None
    context = ssl.create_default_context(cafile=settings.certificate)
    context.check_hostname = False
    return context


async def _load_sample(settings: UpSettings, report: Report) -> None:
    """A sample that cannot be loaded is told and stops nothing."""
    failed: list[str] = []
    try:
        with report.step("sample knowledge bases default and test") as step:
            async with Api(settings.address, token=_token(settings.env), trusted=_trusted(settings)) as api:
                done = await sample.load(api, settings.root, settings.data)
            changes = ((base, found.created + found.replaced + found.removed) for base, found in done.items())
            news = ", ".join(f"{base} ({count} changed)" if count else f"{base} (current)" for base, count in changes)
            failed = [f"{path}: {why}" for found in done.values() for path, why in found.failed]
            step.done = f"sample knowledge bases: {news}"
        with report.step("sample readings of sensors") as step:
            async with Api(settings.address, token=_token(settings.env), trusted=_trusted(settings)) as api:
                brought = await sample.load_readings(api, time.time())
            step.done = f"sample readings: {brought.stored} of {len(sample.SERIES)} series, up to now"
    except (ClientError, OSError) as error:
        failed = [str(error)]
    for why in failed:
        report.warn(f"the sample is not complete: {why}")


async def _load_review(settings: UpSettings, report: Report) -> None:
    """As :func:`_load_sample`."""
    failed: list[str] = []
    try:
        with report.step("sample review") as step:
            async with Api(settings.address, token=_token(settings.env), trusted=_trusted(settings)) as api:
                done = await sample_review.load(api, settings.root)
            failed = [f"{path}: {why}" for path, why in done.failed]
            step.done = f"sample review: task {sample_review.TASK} by the rules in {sample_review.BASE}"
    except (ClientError, OSError) as error:
        failed = [str(error)]
    for why in failed:
        report.warn(f"the sample review is not complete: {why}")
