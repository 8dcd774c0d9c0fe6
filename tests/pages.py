"""The pages of the documentation, taken apart: blocks of code, links, headings, tables."""
from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("liif_basicsr/**/*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: ([^\n]+) -->\n\Z")


class Block(NamedTuple):
    """A fenced block: where it is, its language, its text, and why it is not run, where that is said before it."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def label(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks of some languages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        said = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[2], match[3], said[1] if said else None)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Targets of links and images."""
    text = prose(page)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<img[^>]* src=\"([^\"]+)\"", text)


@cache
def anchors(page: Path) -> set[str]:
    """What '#...' may name in a page, as GitHub makes it of the headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(other == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", other) is not None for other in found)
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def code_spans(page: Path) -> list[str]:
    """Texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def tables_of(page: Path) -> dict[str, dict[str, list[str]]]:
    """Heading -> first cell of each row of the table below it -> the cells between the first and the last."""
    tables: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            assert first not in tables.setdefault(heading, {}), f"{heading}: {first} stands twice"
            tables[heading][first.strip("`")] = [cell.strip("`") for cell in rest[:-1]]
    return tables
