"""What the contact chat asks of the store."""

from typing import Protocol

from parley_protocol.contact import ContactMessage


class ContactStore(Protocol):
    """Messages of the contact chat. Isolation: every write and every page names its tenant; only :meth:`news`, which
    gateways deliver from, reads across tenants and says whose each message is.
    """

    async def keep(
        self, tenant: str, *, client: str, sender: str, kind: str, text: str, user_agent: str = ""
    ) -> ContactMessage:
        """Keep a message. Ids become visible in their order: whoever has seen one has seen all below it."""
        ...

    async def messages(self, tenant: str, *, after: int = 0, limit: int = 100) -> list[ContactMessage]:
        """The tenant's messages with an id above ``after``, in order."""
        ...

    async def news(self, after: int, *, limit: int) -> list[tuple[str, ContactMessage]]:
        """(tenant, message) for every tenant, in order."""
        ...

    async def last(self) -> int:
        """The id of the newest message ever kept; 0 where there was none."""
        ...

    async def forget(self, older_than_s: float, *, limit: int) -> int:
        """Remove messages kept more than ``older_than_s`` ago among the ``limit`` oldest; returns how many."""
        ...
