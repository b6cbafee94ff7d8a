"""What judges a clause. A new assessor is one module and one line in ``registry``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from parley_protocol.events import Source
from parley_protocol.reviews import RuleCited, Verdict
from parley_rag.review.parties import Facts, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """For whom a contract is looked at. ``side`` None: the role names neither; risks of both are told."""

    contract_type: str
    role: str
    side: Side | None
    facts: Facts


class Assessor(Protocol):
    """Judges one clause by the rules that were found for it."""

    @property
    def name(self) -> str: ...

    async def assess(self, clause: str, rules: Sequence[Source], brief: Brief) -> tuple[Verdict, ...]:
        """Risks of ``clause``, each with the rule it offends; one verdict for a rule at most, none where all is well.

        Raises:
            ParleyError: it could not be judged; a Retryable one may pass.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


def cited(rule: Source) -> RuleCited:
    """The passage of the playbook as a finding cites it."""
    return RuleCited(id=rule.id, title=rule.title.rpartition(" › ")[2], document=rule.document, kb=rule.kb)
