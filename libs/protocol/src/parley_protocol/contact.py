"""Contact chat: messages as they are kept, news of them between gateways, and notices to the owner."""

import msgspec

VISITOR, OWNER, ASSISTANT = "visitor", "owner", "assistant"
"""Who a message is from."""

REQUEST, CHAT = "contact_request", "chat_message"
"""Kinds of messages."""


class ContactMessage(msgspec.Struct, frozen=True, kw_only=True, rename={"user_agent": "userAgent"}):
    """A message as it is kept. ``id`` grows in the order in which messages become visible."""

    id: int
    client_id: str
    """Whose conversation it belongs to; empty: of the owner to everybody."""
    sender: str
    kind: str
    message: str
    timestamp: str
    """When it was kept, by the store's clock: RFC 3339, ``+00:00``."""
    user_agent: str = ""
    """What the visitor's browser says of itself (contact requests only)."""


class ContactNotice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="notice.contact"):
    """Job of the notify stage: tell the owner of a contact request. The same ``message.id`` may come more than once."""

    tenant: str
    message: ContactMessage
    tries: int = 0
    """Trips through the retry ladder so far."""


class ContactNews(msgspec.Struct, frozen=True, array_like=True, tag="contact.news"):
    """Gateway to gateways: the message ``id`` has been kept; read on. Losable: readers also look from time to time.

    With ``call`` each gateway that has delivered it answers with a Reply that holds :class:`Reached`.
    """

    id: int
    call: str = ""
    reply_to: str = ""
    owner: bool = True
    """Whether a message of the owner is among the news: only those are for visitors."""


class Reached(msgspec.Struct, frozen=True):
    """What one gateway has made of a message of the owner."""

    gateway: str
    clients: int
    """Sockets of visitors that it was written to."""
