"""Every HTTP route of the gateway, in one list. A module of this package adds its own line here."""

from starlette.routing import BaseRoute

from parley_gateway.api import chat, contact, health, knowledge, page, readings, reviews, sessions, status, tutors
from parley_gateway.hub import Hub


def routes(hub: Hub) -> list[BaseRoute]:
    """Routes in order of matching. ``hub`` is what handlers work with."""
    return [
        *health.routes(hub),
        *chat.routes(hub),
        *knowledge.routes(hub),
        *contact.routes(hub),
        *readings.routes(hub),
        *sessions.routes(hub),
        *tutors.routes(hub),
        *reviews.routes(hub),
        *status.routes(hub),
        *page.routes(),
    ]
