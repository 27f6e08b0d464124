"""What the guide's examples call and do not show."""

import os
from collections.abc import Iterator
from typing import Any

__all__ = (
    "SpecificError",
    "open_connection",
    "process",
    "process_data",
    "process_item",
    "process_line",
)


class SpecificError(Exception):
    """An error with a name."""


class Connection:
    """Three pieces of data, then whatever `closing` the caller sees."""

    def read_stream(self) -> Iterator[int]:
        yield from range(3)

    def close(self) -> None:
        os.write(1, b"the connection is closed\n")


def open_connection() -> Connection:
    return Connection()


def process(item: Any = None) -> Any:
    return item


def process_data(number: int) -> dict[str, Any]:
    return {"current": number + 1, "total": 5, "percentage": (number + 1) * 20}


def process_item(item: Any) -> Any:
    if item == "bad":
        raise ValueError("a path like /srv/private/x")
    return item


def process_line(line: str) -> int:
    return len(line)
