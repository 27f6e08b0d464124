"""What a script's process is given, and what it asks beyond `_workers.processes.control`."""

from typing import Final

import msgspec

__all__ = ("LINE", "NUMBER_BYTES", "ReadLine", "Start")

LINE: Final = ord("I")
"""The kind of a frame that asks for a line of input: a `ReadLine`, answered by a `Reply`."""

NUMBER_BYTES: Final = 8
"""The number of an event's mark, which stands before the event in its frame."""


class Start(msgspec.Struct, frozen=True):
    """What the script's process is given.

    `asks` says whether `input()` is a question; `control` is the socket's descriptor; `parent` is
    the id of the process that owns the run.
    """

    script: str
    arguments: list[str]
    is_module: bool
    run_id: str
    nonce: str
    parent: int
    control: int
    asks: bool
    max_event_bytes: int


class ReadLine(msgspec.Struct, frozen=True):
    """Asks for a line."""

    number: int
    prompt: str
