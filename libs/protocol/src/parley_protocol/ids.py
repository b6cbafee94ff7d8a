"""Names of things on the wire."""

import msgspec

Tenant = str
"""Owner of sessions and knowledge bases; ``"default"`` where authentication is off."""

SessionId = str
"""Signed with tenant and user by the gateway that made it; opaque to everybody else."""

TurnId = str
"""Chosen by the client or the gateway; unique within its session. 1 to 64 characters."""

DEFAULT_TENANT: Tenant = "default"
MAX_TURN_ID = 64
"""Characters."""


class TurnKey(msgspec.Struct, frozen=True, array_like=True):
    """The identity of a turn everywhere: bare client ids of two tenants never meet."""

    tenant: Tenant
    session: SessionId
    turn: TurnId
