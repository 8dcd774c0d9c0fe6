"""Parse the pages of the documentation: code blocks, links, headings and tables."""
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
    """A fenced block. `not_run`: the reason in the comment above it, if there is one."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def label(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return all blocks in the given languages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        reason = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[2], match[3], reason[1] if reason else None)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images."""
    text = prose(page)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"<img[^>]* src=\"([^\"]+)\"", text)


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub derives from a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(other == anchor or re.fullmatch(re.escape(anchor) + r"-\d+", other) is not None for other in found)
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def code_spans(page: Path) -> list[str]:
    """Return the texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def tables_of(page: Path) -> dict[str, dict[str, list[str]]]:
    """Return {heading: {first cell: middle cells}} for the rows of each table. The last cell is left out."""
    tables: dict[str, dict[str, list[str]]] = {}
    heading = ""
    for line in page.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            assert first not in tables.setdefault(heading, {}), f"{heading}: {first} occurs twice"
            tables[heading][first.strip("`")] = [cell.strip("`") for cell in rest[:-1]]
    return tables
