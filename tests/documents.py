"""The project's documents, and the fenced blocks in them."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


class Block(NamedTuple):
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str
    gap: str
    """What stands between the block before and this one."""

    @property
    def place(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    """Yield the blocks of a document, in order."""
    text = document.read_text("utf-8")
    end = 0
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, found.start()) + 1
        inside = textwrap.dedent(found[3]) if found[1] else found[3]
        yield Block(document, line, found[2], inside, text[end : found.start()].strip())
        end = found.end()
