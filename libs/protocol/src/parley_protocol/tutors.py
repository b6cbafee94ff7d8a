"""Tutors, their sessions, and word between gateways that sessions have ended."""

import msgspec


class TutorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A tutor, who belongs to an administrator of the web side."""

    id: int
    admin: str
    """``sub`` of the administrator's tokens."""
    name: str
    created_at: str
    """RFC 3339, UTC."""


class SessionsEnded(msgspec.Struct, frozen=True, array_like=True, tag="tutor.ended"):
    """Gateway to gateways: these sessions are over; close their sockets. Losable: gateways also ask the store from time
    to time.
    """

    sessions: tuple[str, ...]
