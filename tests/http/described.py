"""Functions for those who describe and read the API: their inputs and events are of many kinds."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

import runcast


class Tone(Enum):
    dry = "dry"
    warm = "warm"


@dataclass
class Chapter:
    title: str
    pages: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    parts: list["Chapter"] = field(default_factory=list)


Few = Annotated[int, msgspec.Meta(ge=0, le=5)]


@runcast.function(max_runs=2, events={"chapter": Chapter, "note": str | None})
def write_book(
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)],
    chapters: Annotated[list[Chapter], msgspec.Meta(max_length=3)],
    tone: Tone = Tone.dry,
) -> Iterator[dict[str, Any]]:
    """Write a book.

    Each `chapter` is told once it is written.
    """
    for chapter in chapters:
        yield {"type": "chapter", "data": chapter}
    yield {"type": "note", "data": None}


@runcast.function
async def count(n: Few, language: Literal["en", "fr"] = "en") -> AsyncIterator[dict[str, int]]:
    """Count to n."""
    for number in range(n):
        runcast.progress(number, n)
        yield {"number": number}


@runcast.function(name="add:two.numbers")
def add(a: Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)], b: float | None = None) -> float:
    return a + (b or 0)


@runcast.function
async def echo(value: Any = None) -> Any:
    """Return what was given."""
    return value


@runcast.function
def take_anything(**more: Any) -> int:
    """Take whatever there is."""
    return len(more)
