"""Loads the sample of contract review: the rules into the base `playbook`, and a contract as task 123."""

from collections.abc import Iterator
from pathlib import Path

from parley_client.api import Api
from parley_client.errors import ApiError
from parley_client.ingest import Candidate, Summary, upsert

BASE = "playbook"
TASK = 123
CONTRACT = "sample/contracts/采购合同.txt"
CONTRACT_TYPE, ROLE = "purchase", "buyer"
CONFLICT = 409


def files(root: Path) -> list[Candidate]:
    """The rules, by their path in the project: English and Chinese."""
    return [Candidate(path, path.relative_to(root).as_posix()) for path in sorted(_files(root))]


def _files(root: Path) -> Iterator[Path]:
    yield from (root / "sample" / "playbook").rglob("*.md")


async def load(api: Api, root: Path) -> Summary:
    """Adds what is missing; rules that are there already stay as they are, for they may have been changed by the user.

    The same contract again is the same task, and so is another one that got the id first. Raises ApiError and OSError.
    """
    known = {document.path for document in await api.kb.all_documents(BASE)}
    done = await upsert(api, [one for one in files(root) if one.path not in known], BASE, {})
    contract = root / CONTRACT
    if contract.is_file() and not done.failed:
        try:
            await api.review(contract.read_text(encoding="utf-8"), CONTRACT_TYPE, ROLE, id=TASK)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
    return done
