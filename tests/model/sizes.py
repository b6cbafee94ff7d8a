"""The worlds that are explored: in CI, and by ``python -m tests.model``."""

from __future__ import annotations

from .parts import FAULT_KINDS, Size


def single(kind: str, **more: object) -> Size:
    """Any one fault of ``kind``."""
    return Size(kinds=frozenset([kind]), **more)  # type: ignore[arg-type]


CI: dict[str, Size] = {
    "no fault, 2 tokens": Size(faults=0, tokens=2),
    "cancel at any moment": Size(faults=0, cancels=1),
    "two turns": Size(faults=0, turns=2),
    "a second socket at the same gateway": Size(faults=0, second="same"),
    **{f"one fault: {kind}": single(kind) for kind in ("epoch", "batch", "control", "time", "drop", "stall")},
    **{f"one fault: {kind}": single(kind) for kind in ("kill engine", "kill gateway", "engine", "drain")},
    **{f"one fault: {kind}": single(kind) for kind in ("refusal", "seat", "poison", "kill recorder")},
    "one fault: epoch, answers differ": single("epoch", engine="differs"),
}
"""A minute in all."""

PAIRS = (
    ("drop", "epoch"),
    ("kill engine", "kill gateway"),
    ("kill engine", "drop"),
    ("kill engine", "control"),
    ("kill engine", "time"),
    ("kill engine", "budget"),
    ("engine", "drain"),
    ("epoch", "batch"),
    ("channel engine",),
    ("channel rag",),
)

MORE: dict[str, Size] = {
    **{
        f"one fault: {kind}": single(kind)
        for kind in ("budget", "unknown", "channel engine", "channel rag", "kill rag")
    },
    "one fault: kill engine, 2 tokens": single("kill engine", tokens=2),
    "one fault: kill engine, 2 tokens, answers differ": single("kill engine", tokens=2, engine="differs"),
    "one fault: kill engine, 2 tokens, engine continues": single("kill engine", tokens=2, engine="continues"),
    "one fault: kill engine, every stage claims": single("kill engine", always=True),
    "one fault: drop, 2 tokens": single("drop", tokens=2),
    "one fault: kill gateway, 2 tokens": single("kill gateway", tokens=2),
    "one fault: drop, gateways leave": single("drop", abandon=True),
    "one fault: drop, two turns": single("drop", turns=2),
    "one fault: epoch, a second socket": single("epoch", second="same"),
    "one fault: drop, a second socket": single("drop", second="same"),
    "a second socket at the other gateway": Size(faults=0, second="other"),
    "cancel, and one fault: kill gateway": single("kill gateway", cancels=1),
    "cancel, and one fault: kill engine": single("kill engine", cancels=1),
    **{f"two faults: {' and '.join(kinds)}": Size(faults=2, kinds=frozenset(kinds)) for kinds in PAIRS},
}
"""Minutes each."""

WALKS = Size(
    turns=2,
    tokens=2,
    rags=2,
    faults=8,
    cancels=1,
    second="other",
    engine="differs",
    abandon=True,
    kinds=frozenset(FAULT_KINDS),
)
"""What random walks run through: everything at once."""
