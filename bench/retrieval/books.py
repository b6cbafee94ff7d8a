"""Real bilingual books from Debian's documentation packages, fetched once into a cache folder. Needs no root."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from parley_rag.documents import extract
from parley_runtime.errors import Invalid

PACKAGES = ("debian-handbook", "debian-reference-en", "debian-reference-zh-cn", "maint-guide", "maint-guide-zh-cn")
_NUMBER = re.compile(
    r"^(?:第\s*\d+\s*章\s*|附录\s*[A-Z]\.?\s*|(?:chapter|appendix)\s+[\dA-Z]+\.?\s*|[\dA-Z]+(?:\.\d+)*\.\s+|\d+(?:\.\d+)+\s*)",
    re.IGNORECASE,
)
_CHINESE = re.compile("[\u4e00-\u9fff]")
SHORTEST = 100
"""Code points of a section that counts."""


@dataclass(frozen=True, slots=True)
class Book:
    """Files of one book in one language."""

    name: str
    language: str
    pattern: str


BOOKS = (
    Book("handbook", "en", "usr/share/doc/debian-handbook/html/en-US/*.html"),
    Book("handbook", "zh", "usr/share/doc/debian-handbook/html/zh-CN/*.html"),
    Book("reference", "en", "usr/share/debian-reference/*.en.html"),
    Book("reference", "zh", "usr/share/debian-reference/*.zh-cn.html"),
    Book("maint-guide", "en", "usr/share/doc/maint-guide/html/*.en.html"),
    Book("maint-guide", "zh", "usr/share/doc/maint-guide-zh-cn/html/*.html"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A section's own text without its title. ``title`` is empty where it is no query in the book's language."""

    title: str
    body: str


def fetch(cache: Path) -> Path:
    """The folder that holds the packages' files. Raises RuntimeError where apt-get cannot provide them."""
    root = cache / "root"
    if all((cache / f"{package}.done").exists() for package in PACKAGES):
        return root
    cache.mkdir(parents=True, exist_ok=True)
    loaded = subprocess.run(["apt-get", "download", *PACKAGES], cwd=cache, capture_output=True, text=True, check=False)
    if loaded.returncode:
        raise RuntimeError(f"apt-get download {' '.join(PACKAGES)} failed: {loaded.stderr.strip()[-300:]}")
    for package in PACKAGES:
        for archive in cache.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg", "-x", archive, root], check=True)
            (cache / f"{package}.done").touch()
    return root


def sections(root: Path, book: Book) -> list[Section]:
    """Sections of a book in reading order. Sections too short to hold an answer are left out."""
    found: list[Section] = []
    for path in sorted(root.glob(book.pattern)):
        if path.name.startswith("index."):
            continue
        try:
            document = extract(path.name, "text/html", path.read_bytes())
        except Invalid:
            continue
        for section in document.sections:
            if not section.path or not section.blocks:
                continue
            body = document.text[section.blocks[0].start : section.blocks[-1].end]
            if len(body) >= SHORTEST:
                found.append(Section(_title(section.path[-1], book.language), body))
    return found


def _title(heading: str, language: str) -> str:
    title = _NUMBER.sub("", heading).strip()
    return "" if language == "zh" and not _CHINESE.search(title) else title
