"""The notifier tells the owner's webhook of contact requests: it consumes the notify queue.

At least once: a notice may be posted again after a kill, always with the same id in its headers, by which the receiver
can drop repeats. A notice that is not taken goes to the retry ladder, and after its tries to the dead letters.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import msgspec

from parley_protocol import codec
from parley_protocol.contact import ContactNotice
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import DEAD, RETRY_LADDER_S, Stage, Topology, retry_exchange, stage_queue
from parley_protocol.routes import topology as default_topology
from parley_rag.intake import BACK_OFF_S, Intake
from parley_runtime.config import setting
from parley_runtime.errors import ParleyError
from parley_runtime.jitter import spread
from parley_runtime.ports import Broker, Delivery, Headers, Link, Message
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter
from parley_runtime.work.envelope import CAUSE, QUEUE, REASON

log = get_logger(__name__)

HEADERS: Headers = {"parley-kind": "notice", "parley-v": 1}
PREFETCH = 4
"""Notices posted side by side."""
ID_HEADER = "Parley-Notice-Id"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierOptions:
    """Where notices go, and how hard it is tried."""

    webhook: str = setting(
        "PARLEY_CONTACT_WEBHOOK",
        "",
        "Address that workers POST each contact request to, as JSON; the same in gateways and rag; empty: none",
        secret=True,
    )
    post_s: float = setting(
        "PARLEY_CONTACT_POST_S", 10.0, "Time for the webhook to answer one POST", unit="seconds", minimum=0.1
    )
    tries: int = setting(
        "PARLEY_CONTACT_TRIES",
        12,
        "POSTs of one notice before it is a dead letter; 1, 5 and then every 30 s apart",
        unit="tries",
        minimum=1,
    )

    def __post_init__(self) -> None:
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            raise ValueError("PARLEY_CONTACT_WEBHOOK: must begin with http:// or https://")


class Notifier:
    """``link`` publishes retries and dead letters; ``http`` is closed by :meth:`aclose`."""

    def __init__(
        self,
        broker: Broker,
        link: Link,
        options: NotifierOptions | None = None,
        *,
        http: httpx.AsyncClient | None = None,
        declared: Topology | None = None,
    ) -> None:
        self._options = options or NotifierOptions()
        self._link = link
        self._http = http or httpx.AsyncClient(timeout=self._options.post_s)
        self._queue = stage_queue(Stage.NOTIFY)
        spec = (declared or default_topology()).queue(self._queue)
        self._intake = Intake(broker, spec, self._serve, prefetch=PREFETCH)

    async def start(self, *, wait_s: float = 30.0) -> None:
        """Raises Unavailable unless it is consuming within ``wait_s``."""
        await self._intake.start(wait_s=wait_s)

    def check(self) -> str | None:
        """For readiness."""
        return None if self._intake.consuming else "not consuming notices to the owner"

    async def drain(self, deadline_s: float) -> None:
        """Take nothing new; finish what is in hand. What is not finished in time is delivered again."""
        await self._intake.drain(deadline_s)

    async def aclose(self) -> None:
        """End. Idempotent."""
        await self._intake.aclose()
        await self._http.aclose()

    async def _serve(self, delivery: Delivery) -> None:
        try:
            notice = codec.unpack_notice(delivery.body)
        except ProtocolError as error:
            counter(names.UNDECODABLE).labels(Stage.NOTIFY.value).inc()
            log.warning("notice cannot be used; dead-lettered", reason=error.code.value)
            await delivery.reject()
            return
        cause = await self._post(notice)
        if cause and not await self._later(notice, cause, delivery):
            return
        await delivery.ack()

    async def _post(self, notice: ContactNotice) -> str:
        """Why the webhook has not taken it; empty where it has."""
        id = f"contact-{notice.message.id}"
        webhook = self._options.webhook
        if not webhook:
            return "PARLEY_CONTACT_WEBHOOK is not set in this worker"
        body = msgspec.json.encode(
            {
                "type": notice.message.kind,
                "notice_id": id,
                "tenant": notice.tenant,
                **msgspec.to_builtins(notice.message),
            }
        )
        headers = {"Content-Type": "application/json", ID_HEADER: id, "Idempotency-Key": id}
        try:
            async with (
                asyncio.timeout(self._options.post_s),
                self._http.stream("POST", webhook, content=body, headers=headers) as response,
            ):
                status = response.status_code
        except TimeoutError:
            return f"the webhook did not answer within {self._options.post_s:g} s"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return f"the webhook at {_shown(webhook)} cannot be reached ({type(error).__name__})"
        if 200 <= status < 300:
            counter(names.NOTICES).labels("taken").inc()
            log.info("owner notified", notice=id, status=status, tries=notice.tries + 1)
            return ""
        return f"the webhook answered {status}"

    async def _later(self, notice: ContactNotice, cause: str, delivery: Delivery) -> bool:
        """To the ladder or the dead letters, confirmed. False: the delivery is no longer ours; it comes again."""
        tries = notice.tries + 1
        parked = tries >= self._options.tries
        counter(names.NOTICES).labels("parked" if parked else "retried").inc()
        log.warning(
            "owner not notified", notice=f"contact-{notice.message.id}", cause=cause, tries=tries, parked=parked
        )
        body = codec.pack(msgspec.structs.replace(notice, tries=tries))
        if parked:
            headers = {**HEADERS, CAUSE: cause[:500], REASON: "exhausted", QUEUE: self._queue}
            return await self._insist(DEAD, "", Message(body, headers), delivery)
        rung = min(notice.tries, len(RETRY_LADDER_S) - 1)
        return await self._insist(retry_exchange(rung), Stage.NOTIFY, Message(body, HEADERS), delivery)

    async def _insist(self, exchange: str, key: str, message: Message, delivery: Delivery) -> bool:
        delay, longest = BACK_OFF_S
        while delivery.alive:
            try:
                await self._link.publish(exchange, key, message)
            except ParleyError as error:
                log.info("holding a notice", reason=type(error).__name__)
                await asyncio.sleep(spread(delay))
                delay = min(longest, delay * 2)
            else:
                return True
        return False


def _shown(url: str) -> str:
    """The host alone: paths and queries of webhooks hold secrets."""
    return urlsplit(url).hostname or "?"
