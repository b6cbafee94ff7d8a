"""The composition root: the one place that knows every part."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from parley_gateway import report
from parley_gateway.admission import Admission
from parley_gateway.api import router
from parley_gateway.api.http import unrouted
from parley_gateway.auth import Authenticator
from parley_gateway.calls import Calls
from parley_gateway.config import GatewaySettings
from parley_gateway.contact import ContactDesk
from parley_gateway.dialects.registry import DIALECTS
from parley_gateway.dialects.socket import DialectEndpoint
from parley_gateway.dispatch import Dispatch
from parley_gateway.drain import drain
from parley_gateway.endpoint import Endpoint
from parley_gateway.engine import EngineClient
from parley_gateway.fanin import FanIn
from parley_gateway.front import App, Counted, Front
from parley_gateway.hearing import Hearing
from parley_gateway.hub import Hub
from parley_gateway.identity import SessionIds, install_secret
from parley_gateway.limits import Addresses
from parley_gateway.origin import Origins, is_loopback
from parley_gateway.outbox import Flusher
from parley_gateway.pulse import Pulse
from parley_gateway.readiness import Readiness
from parley_gateway.registry import Registry
from parley_gateway.reviews import ReviewDesk
from parley_gateway.server import bind, check_tls, serving
from parley_gateway.status import watch_broker
from parley_gateway.tutoring import TutorDesk
from parley_gateway.voice.ears import Ears
from parley_gateway.voice.heard import HeardDesk
from parley_gateway.voice.mouth import Mouths
from parley_gateway.voice.saying import Saying
from parley_protocol.control import Audience, EngineInfo
from parley_protocol.installation import development_secret
from parley_protocol.routes import topology
from parley_runtime.amqp import AmqpBroker
from parley_runtime.answering import asr_engine
from parley_runtime.control import ControlPlane
from parley_runtime.errors import ConfigError
from parley_runtime.ports import Broker, Link
from parley_runtime.process import Figures, Process
from parley_runtime.store import open_store
from parley_runtime.store.ports import Store
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import gauge
from parley_runtime.work.asks import Asks
from parley_runtime.work.lastword import LastWord

log = get_logger("parley.gateway")


@dataclass(slots=True)
class Gateway:
    """A running gateway; ``port`` is the one it listens on."""

    hub: Hub
    port: int

    async def drain(self, deadline_s: float) -> None:
        """See :func:`parley_gateway.drain.drain`."""
        await drain(self.hub, deadline_s)


@asynccontextmanager
async def build(process: Process, settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """A gateway on RabbitMQ and the store of the settings.

    Raises:
        ConfigError: settings that cannot work, among them a public address without a secret and a port in use.
        Unavailable: no broker or store answered in time.
    """
    check(settings)
    async with _backends(process, settings) as (broker, store), compose(process, settings, broker, store) as gateway:
        yield gateway


@asynccontextmanager
async def unserved(process: Process, settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """As :func:`build`, for a server of somebody else's: it serves :func:`front`. ``port`` is 0."""
    check(settings)
    async with _backends(process, settings) as (broker, store), connected(process, settings, broker, store) as hub:
        yield Gateway(hub, 0)


@asynccontextmanager
async def _backends(process: Process, settings: GatewaySettings) -> AsyncIterator[tuple[Broker, Store]]:
    common = settings.common
    async with AsyncExitStack() as stack:
        store = await open_store(common.store_url)
        stack.push_async_callback(store.aclose)
        broker = AmqpBroker(
            common.amqp_url, name=process.id, topology=topology(common.admission), heartbeat_s=common.heartbeat_s
        )
        stack.push_async_callback(broker.close)
        yield broker, store


@asynccontextmanager
async def compose(process: Process, settings: GatewaySettings, broker: Broker, store: Store) -> AsyncIterator[Gateway]:
    """A gateway on any broker and store: what tests enter."""
    engine, why = asr_engine(settings.engine, settings.asr.choice)
    process.engines.append(EngineInfo("asr text", engine or "embedded", why))
    async with AsyncExitStack() as stack:
        listeners = bind(settings.server)
        for listener in listeners:
            stack.callback(listener.close)
        hub = await stack.enter_async_context(connected(process, settings, broker, store))
        await stack.enter_async_context(
            serving(front(hub), settings.server, listeners, lambda error: process.fail("server", error))
        )
        ports = [listener.getsockname()[1] for listener in listeners]
        _say(hub, ports)
        yield Gateway(hub, ports[0])


@asynccontextmanager
async def connected(process: Process, settings: GatewaySettings, broker: Broker, store: Store) -> AsyncIterator[Hub]:
    """Everything but the listening server."""
    async with AsyncExitStack() as stack:
        control = await ControlPlane.open(
            broker, process_id=process.id, audience=Audience.GATEWAYS, presence=process.presence
        )
        stack.push_async_callback(control.aclose)
        publisher = await broker.open("publish")
        events = await broker.open("events")
        audio = await broker.open("audio")
        ears = Ears(process.id, settings.ears, process.clock, audio, events)
        hub = _hub(process, settings, publisher=publisher, control=control, store=store, ears=ears)
        stack.push_async_callback(hub.dispatch.close)
        stack.push_async_callback(hub.contact.close)
        stack.push_async_callback(hub.tutors.attendance.close)
        stack.push_async_callback(hub.engine.close)
        stack.push_async_callback(hub.reviews.close)
        stack.push_async_callback(hub.ears.close)
        stack.push_async_callback(hub.mouths.close)
        stack.push_async_callback(_end_tasks, hub)
        fanin = _fanin(hub)
        Hearing(hub.dispatch, hub.registry, control)
        stack.push_async_callback(fanin.close)
        await asyncio.gather(control.start(), fanin.start(events))
        process.checks.add("control", control.check)
        process.checks.add("events", fanin.check)
        watch_broker(hub, {"publish": publisher, "events": events, "audio": audio})
        process.add_figures(lambda: _figures(hub))
        stack.push_async_callback(Pulse(hub).close)
        hub.spawn(hub.readiness.run())
        yield hub


def _say(hub: Hub, ports: list[int]) -> None:
    """What an operator should know of how this gateway is reached."""
    settings = hub.settings
    server = settings.server
    log.info("listening", host=server.host, ports=ports, tls=bool(server.tls_cert), tokens=hub.auth.required)
    if hub.auth.required and settings.access.open_dialects:
        log.warning("dialects without tokens", open=list(settings.access.open_dialects))
    if server.websocket_host or server.websocket_port:
        log.info(
            "WEBSOCKET_HOST and WEBSOCKET_PORT are ignored: sockets are served where HTTP is; for other ports see "
            "PARLEY_EXTRA_PORTS"
        )


def check(settings: GatewaySettings) -> None:
    """Raises ConfigError where the settings would leave the gateway open to the network without tokens."""
    access = settings.access
    if not is_loopback(settings.server.host) and not access.auth_secret and not access.auth_jwks:
        raise ConfigError(
            f"PARLEY_HOST={settings.server.host} is not a loopback address: set PARLEY_AUTH_SECRET (or "
            "PARLEY_AUTH_JWKS) so that clients need a token, or bind 127.0.0.1"
        )
    if access.auth_secret and len(access.auth_secret) < 32:
        raise ConfigError("PARLEY_AUTH_SECRET is shorter than 32 characters; use a long random one")
    check_tls(settings.server)


def front(hub: Hub) -> Front:
    """The ASGI application."""
    settings = hub.settings
    origins = Origins(settings.access.origins, loopback=is_loopback(settings.server.host))
    http = Starlette(routes=router.routes(hub), exception_handlers={HTTPException: unrouted})
    counted = Counted(http, hub.requests, hub.left)
    sockets: dict[str, App] = {dialect.path: DialectEndpoint(hub, dialect) for dialect in DIALECTS}
    return Front(counted, {"/v1/connect": Endpoint(hub), **sockets}, origins, settings.server.path_prefixes)


def _hub(
    process: Process, settings: GatewaySettings, *, publisher: Link, control: ControlPlane, store: Store, ears: Ears
) -> Hub:
    installed = b"" if settings.access.auth_secret else install_secret(settings.server.data)
    secret = settings.access.auth_secret.encode() or installed
    turns, now = settings.turns, process.clock.monotonic
    admission = Admission(turns.retry_after_s, turns.retry_min_s, turns.retry_max_s)
    gauge(names.SERVICE_RATE).set_function(lambda: admission.rate.per_second(now()) or 0.0)
    registry = Registry(turns, lambda: admission.next_slot_s(now()))
    dispatch = Dispatch(
        process.id,
        settings.turns,
        process.clock,
        publisher=publisher,
        control=control,
        store=store,
        registry=registry,
        admission=admission,
        delivered=LastWord(store, Asks(control, settings.asks), settings.asks.end_wait_s),
    )
    heard = HeardDesk(store, settings.mouths.heard_s)
    dispatch.before_publish(heard.settling)
    calls = Calls(publisher, control, process.id, timeout_s=settings.turns.call_s, limit=settings.turns.max_calls)
    limits = settings.limits
    return Hub(
        settings=settings,
        process=process,
        registry=registry,
        admission=admission,
        dispatch=dispatch,
        calls=calls,
        publisher=publisher,
        store=store,
        control=control,
        contact=ContactDesk(
            store.contact, control=control, calls=calls, publisher=publisher, settings=settings.contact
        ),
        tutors=TutorDesk(store, control=control, clock=process.clock, secret=secret, settings=settings.tutor),
        engine=EngineClient(settings.tutor),
        reviews=ReviewDesk(store.reviews, control, process.clock, poll_s=settings.reviews.poll_s),
        ears=ears,
        floor=settings.floor.rules(),
        mouths=Mouths(settings.mouths, Saying(process.id, settings.mouths, process.clock, publisher, control), heard),
        auth=Authenticator(settings.access, development_secret(installed)),
        sessions=SessionIds(secret),
        flusher=Flusher(),
        addresses=Addresses(limits.connect_rate / 60, limits.connect_burst),
        readiness=Readiness(publisher, store, settings.server.ready_bases),
    )


def _fanin(hub: Hub) -> FanIn:
    return FanIn(
        hub.dispatch,
        hub.registry,
        hub.calls,
        hub.ears,
        hub.mouths,
        hub.control,
        hub.process.clock,
        prefetch=hub.settings.turns.prefetch,
    )


def _figures(hub: Hub) -> Figures:
    return Figures(sockets=len(hub.connections), sessions=len(hub.registry.sessions), latencies=report.latencies())


async def _end_tasks(hub: Hub) -> None:
    for task in tuple(hub.tasks):
        task.cancel()
    await asyncio.gather(*hub.tasks, return_exceptions=True)
