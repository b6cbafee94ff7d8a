"""The worlds that are explored: in CI, and by ``python -m tests.model``."""

from __future__ import annotations

from .world import Size


def single(kind: str, **more: object) -> Size:
    """Any one fault of ``kind``."""
    return Size(kinds=frozenset([kind]), **more)  # type: ignore[arg-type]


CI: dict[str, Size] = {
    "no fault, 2 tokens": Size(faults=0, tokens=2),
    "cancel at any moment": Size(faults=0, cancels=1),
    "two turns": Size(faults=0, turns=2),
    "a second socket at the same gateway": Size(faults=0, second="same"),
    **{f"one fault: {kind}": single(kind) for kind in ("epoch", "batch", "control", "time", "drop", "stall")},
    **{f"one fault: {kind}": single(kind) for kind in ("refusal", "seat", "poison", "kill recorder")},
    "one fault: epoch, answers differ": single("epoch", engine="differs"),
}
"""A minute in all."""

MORE: dict[str, Size] = {
    **{f"one fault: {kind}": single(kind) for kind in ("engine", "budget", "kill engine", "unknown", "drain")},
    **{f"one fault: {kind}": single(kind) for kind in ("kill gateway", "kill rag", "channel")},
    "one fault: kill engine, answers differ": single("kill engine", engine="differs"),
    "one fault: kill engine, engine continues": single("kill engine", engine="continues"),
    "one fault: channel, answers differ": single("channel", engine="differs"),
    "one fault: kill engine, every stage claims": single("kill engine", always=True),
    "one fault: drop, 2 tokens": single("drop", tokens=2),
    "one fault: drop, gateways leave": single("drop", abandon=True),
    "a second socket at the other gateway": Size(faults=0, second="other"),
    "one fault: drop, two turns": single("drop", turns=2),
    "one fault: epoch, a second socket": single("epoch", second="same"),
    "two faults: drop and epoch": Size(faults=2, kinds=frozenset(["drop", "epoch"])),
}
"""Minutes each."""

WALKS = Size(turns=2, tokens=2, rags=2, faults=8, cancels=1, second="other", engine="differs", abandon=True)
"""What random walks run through: everything at once."""
