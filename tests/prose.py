"""Counts habits of English that make a text hard to read, in documents and in source code.

`python -m tests.prose` prints how many there are per 1,000 lines, and then each with its place;
`python -m tests.prose docs` or `source` prints one half, and further words are parts of paths.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.documents import DOCUMENTS, ROOT

HALVES = ("docs", "source")

_GENERATED = {"settings.md", "commands.md"}
"""Pages whose sentences stand in the source, where they are counted."""

_BESIDE = ("benchmarks", "conformance", "examples", ".github")

_VERB = r"(?:is|was|has|had|can|may|could|must|should|will|would|does|[a-z]+[^s\W]s|[a-z]+ed)"
_LONE = (
    # A word behind which "who" has no noun that it could belong to.
    r"(?:by|of|to|for|from|with|than|as|is|are|on|at|in|and|or|but|if|when|while|only|not|that)"
)

HABITS: dict[str, str] = {
    "whoever": r"\b(?:whoever|whomever|whosoever)\b",
    "anew": r"\banew\b",
    "but for": r"\bbut for\b",
    "save that": r"\bsave that\b",
    "be had": r"\bbe had\b",
    "is none": r"\b(?:is|are|was|were) (?-i:none)\b",  # not Python's `is None`
    "told": r"\btold\b",
    "tell": r"\b(?:tell|tells|telling) (?:of|that|whether|who)\b",
    "of it": r"\bof it\b",
    "those who": r"\b(?:those (?:who|that|which)|all who)\b",
    "who without a noun": (
        rf"(?:(?:\A|\n\n|[.!?:;(|]['\"*_]* +|\n *(?:[-*>|]|\d+\.) +)|\b{_LONE} )who {_VERB}\b"
        r"(?![^.!?|]*\?)"  # a question may begin with "who"
    ),
}

_PATTERN = re.compile(
    "|".join(f"(?P<h{n}>{pattern})" for n, pattern in enumerate(HABITS.values())), re.IGNORECASE
)


_HABITS_IN_NAMES = re.compile(r"(?<![a-z])(?:told|whoever|anew)(?![a-z])")


class Habit(NamedTuple):
    """One place where a habit was found."""

    line: int
    name: str
    words: str


class Count(NamedTuple):
    """What was found in some files."""

    found: list[tuple[Path, Habit]]
    lines: int

    @property
    def per_1000_lines(self) -> float:
        return 1000 * len(self.found) / self.lines


def habits_of(prose: str) -> list[Habit]:
    """Return the habits in a text, in order. A habit may run over the end of a line."""
    # Each blank or break becomes one blank, so that positions and lines stay as they are.
    flat = re.sub(r"(?<!\n)\n(?= *[^\s*>|#-])(?! *\d+\.)", " ", prose)
    flat = re.sub(r" {2,}", lambda run: "\0" * (len(run[0]) - 1) + " ", flat)
    kept = [(at, char) for at, char in enumerate(flat) if char != "\0"]
    text = "".join(char for _, char in kept)
    habits = list(HABITS)
    return [
        Habit(
            prose.count("\n", 0, kept[match.end() - 1][0]) + 1,
            habits[int((match.lastgroup or "h0")[1:])],
            " ".join(text[max(0, match.start() - 25) : match.end() + 25].split()),
        )
        for match in _PATTERN.finditer(text)
    ]


def prose_of(path: Path) -> str:
    """Return a file's text with all that is not prose left out, every line in its place.

    Prose is what stands outside of the fenced blocks of a document. Of a Python file it is the
    comments, the texts, and those words of names that are habits by themselves. Other files are
    prose from end to end.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        return _words_of_python(text)
    if path.suffix == ".md":
        blocks = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
        return blocks.sub(lambda block: "\n" * block[0].count("\n"), text)
    return text


def _words_of_python(text: str) -> str:
    lines: list[list[str]] = [[] for _ in range(text.count("\n") + 2)]
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            lines[token.start[0] - 1] += _HABITS_IN_NAMES.findall(token.string)
        if token.type not in kinds:
            continue
        words = token.string.lstrip("# ") if token.type == tokenize.COMMENT else token.string
        if token.type == tokenize.STRING:
            words = re.sub(r"""^[a-zA-Z]*("{3}|'{3}|"|')(.*)\1$""", r"\2", words, flags=re.DOTALL)
        for offset, line in enumerate(words.split("\n")):
            lines[token.start[0] - 1 + offset].append(line)
    return "\n".join(" ".join(line) for line in lines)


def files_of(half: str) -> list[Path]:
    """Return the files of a half: the documents in English, or the source."""
    if half == "docs":
        beside = (path for folder in _BESIDE for path in (ROOT / folder).rglob("*.md"))
        own = (path for path in (*DOCUMENTS, *beside) if path.name not in _GENERATED)
        return sorted(path for path in own if not path.stem.endswith(".zh"))
    found = (ROOT / "src").rglob("*")
    return sorted(path for path in found if path.suffix in {".py", ".html", ".js", ".ts"})


def count(half: str) -> Count:
    """Return the habits of a half, and its length."""
    found = [(path, habit) for path in files_of(half) for habit in habits_of(prose_of(path))]
    return Count(found, sum(path.read_text("utf-8").count("\n") for path in files_of(half)))


def _shown(half: str, parts: list[str]) -> Iterator[str]:
    counted = count(half)
    yield (
        f"{half}: {len(counted.found)} in {counted.lines} lines,"
        f" {counted.per_1000_lines:.1f} per 1,000"
    )
    for path, habit in counted.found:
        place = path.relative_to(ROOT).as_posix()
        if not parts or any(part in place for part in parts):
            yield f"{place}:{habit.line}: {habit.name}: … {habit.words} …"


if __name__ == "__main__":
    given = sys.argv[1:]
    for each in [half for half in HALVES if half in given] or HALVES:
        parts = [word for word in given if word not in HALVES]
        sys.stdout.writelines(f"{line}\n" for line in _shown(each, parts))
