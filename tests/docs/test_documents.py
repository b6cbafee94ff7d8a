"""The documents are true where a machine can tell: links lead somewhere, and every test they name exists."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?:test_|Test)\w+)`")


def links(page: Path) -> list[Path]:
    """Files that the page links to."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [page.parent / target for target in found if not target.startswith(("http:", "https:", "mailto:"))]


def named(page: Path) -> list[tuple[str, tuple[Path, ...]]]:
    """Tests that the page names, each with the files linked on the same line."""
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        files = tuple(page.parent / target for target in LINK.findall(line) if target.endswith(".py"))
        found += [(name, files) for name in NAMED.findall(line)]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [str(target) for target in links(page) if not target.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    missing = []
    for name, files in named(page):
        texts = [file.read_text(encoding="utf-8") for file in files if file.exists()]
        if not any(
            re.search(rf"^(?:\s*(?:async def|def|class) {name}\b|{name} = )", text, re.MULTILINE) for text in texts
        ):
            missing.append(name)
    assert missing == []


def test_every_guarantee_has_a_page_that_names_its_tests() -> None:
    pages = sorted((ROOT / "docs/guarantees").glob("g*.md"))
    assert [page.name[:3] for page in pages] == [f"g{number:02}" for number in range(1, 13)]
    assert [page.name for page in pages if not named(page)] == []
