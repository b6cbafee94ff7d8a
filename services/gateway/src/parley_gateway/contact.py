"""The contact chat behind its sockets: messages are kept in the store, and every gateway delivers from there.

A gateway with sockets of the chat follows the store by message id: at once when news of a message comes over control,
and every few seconds in any case, so that lost news only costs time. Each message is delivered at each gateway once.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from parley_gateway.calls import Calls
from parley_gateway.dialects.settings import ContactSettings
from parley_gateway.listeners import Listener, Listeners
from parley_protocol import codec
from parley_protocol.contact import CHAT, OWNER, ContactMessage, ContactNews, ContactNotice, Reached
from parley_protocol.control import Audience
from parley_protocol.events import Reply
from parley_protocol.faults import ProtocolError
from parley_protocol.routes import WORK, Stage
from parley_runtime.control import ControlPlane
from parley_runtime.errors import OutcomeUnknown, Unavailable
from parley_runtime.ports import Headers, Link, Message
from parley_runtime.store.contact_ports import ContactStore
from parley_runtime.telemetry import names
from parley_runtime.telemetry.logging import get_logger
from parley_runtime.telemetry.metrics import counter

log = get_logger("parley.contact")

PAGE = 200
"""Messages read at a time."""
HINT_S = 0.002
"""How long news of a message of the owner, which a visitor waits for, wait for those of others."""
NEWS_S = 0.02
"""The same of any other message, which only the owner reads."""
GATHER_S = 0.3
"""How long it takes to learn which gateways there are."""
REMEMBERED = 1000
"""Messages of the owner whose delivery counts are kept for whoever asks."""
NOTICE_HEADERS: Headers = {"parley-kind": "notice", "parley-v": 1}


class News:
    """News of messages that are kept within a short time travel as one."""

    def __init__(self, post: Callable[[ContactNews], None]) -> None:
        self._post = post
        self._newest = ContactNews(0, owner=False)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, id: int, *, owner: bool) -> None:
        """Tell of message ``id`` after :data:`HINT_S` where it is the owner's, else after :data:`NEWS_S`."""
        self._newest = ContactNews(max(id, self._newest.id), owner=owner or self._newest.owner)
        loop = asyncio.get_running_loop()
        at = loop.time() + (HINT_S if owner else NEWS_S)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._tell)

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        news, self._newest = self._newest, ContactNews(0, owner=False)
        self._post(news)


class ContactDesk:
    """One for each gateway."""

    def __init__(
        self, store: ContactStore, *, control: ControlPlane, calls: Calls, publisher: Link, settings: ContactSettings
    ) -> None:
        self._store = store
        self._control = control
        self._calls = calls
        self._publisher = publisher
        self._settings = settings
        self._listeners = Listeners()
        self._cursor = 0
        self._wake = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None
        self._told: OrderedDict[int, int] = OrderedDict()
        self._asked: dict[int, list[ContactNews]] = defaultdict(list)
        self._news = News(lambda news: control.post(Audience.GATEWAYS.value, news))
        control.on(ContactNews, self._on_news)

    async def join(self, listener: Listener, *, owner: bool) -> None:
        """Deliver to ``listener`` from here on: to an owner everything of the tenant, to a visitor what is for him.

        Raises:
            Unavailable: the store cannot be reached.
        """
        if self._follower is None:
            last = await self._store.last()
            if self._follower is None:
                self._cursor = last
                self._follower = asyncio.get_running_loop().create_task(self._follow(), name="contact follower")
        self._listeners.add(listener, owner=owner)

    def leave(self, listener: Listener) -> None:
        """Deliver to it no more. Idempotent."""
        self._listeners.remove(listener)
        self._wake.set()

    async def keep(
        self, tenant: str, *, client: str, sender: str, kind: str, text: str, user_agent: str = ""
    ) -> ContactMessage:
        """Keep a message and let every gateway know. Raises Unavailable where it could not be kept."""
        message = await self._store.keep(
            tenant, client=client, sender=sender, kind=kind, text=text, user_agent=user_agent
        )
        counter(names.CONTACT_MESSAGES).labels(sender, kind).inc()
        by_owner = sender == OWNER
        if by_owner or self._listeners.owners:
            self._wake.set()
        self._news.add(message.id, owner=by_owner)
        return message

    async def notify(self, tenant: str, message: ContactMessage) -> None:
        """Hand a notice for the owner's webhook to the workers, durably. Does nothing where there is no webhook.

        Raises:
            ParleyError: the broker has not confirmed it in time.
        """
        if not self._settings.webhook:
            return
        notice = Message(codec.pack(ContactNotice(tenant=tenant, message=message)), NOTICE_HEADERS)
        for last in (False, True):
            try:
                await self._publisher.publish(WORK, Stage.NOTIFY, notice, timeout_s=self._settings.notify_s)
            except OutcomeUnknown:  # once more: whoever gets it twice can tell by the id
                if last:
                    raise
            else:
                return

    async def arrived(self, message: ContactMessage) -> bool:
        """Whether a message of the owner has been written to a socket of its visitor, at any gateway; False where none
        has said so in time.
        """
        return any((await self._reached(message, lambda found: any(found.values()))).values())

    async def broadcast(self, tenant: str, text: str) -> int:
        """A message of the owner to every visitor there is; returns how many sockets it was written to, as far as
        gateways have answered in time.
        """
        message = await self.keep(tenant, client="", sender=OWNER, kind=CHAT, text=text)
        gateways: set[str] = {self._calls.gateway}
        listed = asyncio.create_task(_list(self._calls, gateways))
        try:
            counts = await self._reached(message, lambda found: listed.done() and found.keys() >= gateways)
        finally:
            await listed
        missing = gateways - counts.keys()
        log.info("broadcast", gateways=len(counts), unheard=len(missing), reached=sum(counts.values()))
        return sum(counts.values())

    async def close(self) -> None:
        """Deliver nothing more."""
        self._news.close()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait({self._follower})

    # --- who has delivered what -------------------------------------------------------------------------------

    async def _reached(self, message: ContactMessage, enough: "_Enough") -> dict[str, int]:
        """Sockets reached by gateway. Asked again while answers are missing: what is posted can be lost."""
        deadline = asyncio.get_running_loop().time() + self._settings.broadcast_s
        counts: dict[str, int] = {}
        while (left := deadline - asyncio.get_running_loop().time()) > 0 and not enough(counts):
            await self._calls.gather(
                lambda call: self._control.post(
                    Audience.GATEWAYS.value, ContactNews(message.id, call, self._calls.gateway)
                ),
                wait_s=min(left, GATHER_S + 0.05),
                enough=lambda bodies: enough(_counted(bodies, counts)),
            )
        own = self._calls.gateway  # known without the broker
        counts[own] = max(counts.get(own, 0), self._told.get(message.id, 0))
        return counts

    def _on_news(self, news: ContactNews) -> None:
        if news.call:
            self._asked[news.id].append(news)
        if self._follower is None or news.id <= self._cursor:
            self._answer()
        elif news.owner or self._listeners.owners:
            self._wake.set()

    def _answer(self) -> None:
        """Tell those who have asked of messages that have been read, or never will be."""
        due = [id for id in self._asked if id <= self._cursor or self._follower is None]
        for id in due:
            reached = codec.pack(Reached(self._calls.gateway, self._told.get(id, 0)))
            for news in self._asked.pop(id):
                self._control.answer(news.reply_to, Reply(news.call, reached))

    # --- following the store ----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            while self._listeners:
                self._wake.clear()
                try:
                    await self._read()
                except Unavailable as error:
                    log.info("messages are looked for again later", reason=type(error).__name__)
                except Exception:
                    log.exception("messages cannot be read on a defect; looked for again later")
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.poll_s):
                        await self._wake.wait()
        finally:
            self._follower = None
            self._answer()

    async def _read(self) -> None:
        while True:
            page = await self._store.news(self._cursor, limit=PAGE)
            for tenant, message in page:
                self._cursor = message.id
                self._deliver(tenant, message)
            self._answer()
            if len(page) < PAGE:
                return

    def _deliver(self, tenant: str, message: ContactMessage) -> None:
        reached = self._listeners.deliver(tenant, message)
        if message.sender != OWNER:
            return
        self._told[message.id] = reached
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)


async def _list(calls: Calls, gateways: set[str]) -> None:
    """Add those that there are."""
    gateways.update(one.id for one in await calls.hail(wait_s=GATHER_S) if one.role == "gateway")


class _Enough(Protocol):
    def __call__(self, counts: dict[str, int], /) -> bool: ...


def _counted(bodies: list[bytes], counts: dict[str, int]) -> dict[str, int]:
    """``counts`` with what the last reply says."""
    try:
        reached = codec.unpack(bodies[-1], Reached)
    except ProtocolError:
        log.warning("a gateway's count cannot be read; dropped")
        return counts
    counts[reached.gateway] = max(reached.clients, counts.get(reached.gateway, 0))
    return counts
