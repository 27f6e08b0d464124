"""What a run keeps for its next attempt: values, stored beside its log and shown to no watcher.

A value belongs to a question, or to the run itself. The values are in the log's attachment, beside
the inputs, and only the run's owner replaces it. `read_kept` is for the process that continues the
run.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runcast.errors import EventTooLarge
from runcast.events.model import as_stored
from runcast.events.plain import decode_json, encode_json

__all__ = ("MAX_KEPT_BYTES", "OF_THE_RUN", "Keeper", "as_kept", "kept_with", "last_kept")

MAX_KEPT_BYTES: Final = 1024 * 1024
"""Most bytes of JSON that a run keeps, of all its open questions together: as much as the history
of a long conversation."""

OF_THE_RUN: Final = ""
"""The name of the value that belongs to no question."""

_FIELD: Final = "kept"


def as_kept(value: object) -> bytes:
    """Return a value as JSON that can be kept.

    Raises:
        InvalidValue: JSON cannot hold the value.
        EventTooLarge: it is longer than MAX_KEPT_BYTES.
    """
    kept = encode_json(as_stored("kept", value).data)
    if len(kept) > MAX_KEPT_BYTES:
        raise _too_large(len(kept))
    return kept


def _too_large(size: int) -> EventTooLarge:
    return EventTooLarge(
        f"expected what a run keeps to be at most {MAX_KEPT_BYTES} bytes of JSON, got {size}; "
        "write large data into a file of the workspace, and keep its name"
    )


class Keeper:
    """The attachment of one run's log, as its owner replaces it.

    Args:
        stored: the attachment now.
    """

    def __init__(self, stored: bytes = b"") -> None:
        self.attachment = stored
        """What the log's attachment is to be."""
        self._fields = _fields_of(stored)
        self._kept = _kept_in(self._fields)
        self._decided: set[str] = set()

    def put(self, name: str, value: bytes) -> bytes:
        """Keep a value under a question's id, or of the run, and return the new attachment.

        The values of questions that were decided are dropped.

        Raises:
            EventTooLarge: all values together are too long.
        """
        kept = {known: old for known, old in self._kept.items() if known not in self._decided}
        kept.pop(name, None)
        kept[name] = msgspec.Raw(value)  # the last one is the latest
        size = sum(map(len, map(bytes, kept.values())))
        if size > MAX_KEPT_BYTES:
            raise _too_large(size)
        self._kept = kept
        self._decided.discard(name)
        self.attachment = _encode({**self._fields, _FIELD: kept})
        return self.attachment

    def decide(self, name: str) -> None:
        """Note that a question was decided. Its value stays while it is the latest."""
        self._decided.add(name)


def kept_with(stored: bytes, interrupt_id: str) -> Any:
    """Return what a question kept, or else what the run itself kept; None without either.

    Args:
        stored: the log's attachment.
    """
    kept = _kept_in(_fields_of(stored))
    value = kept.get(interrupt_id, kept.get(OF_THE_RUN))
    return None if value is None else decode_json(value)


def last_kept(stored: bytes) -> Any:
    """Return what a run kept last, with a question or by itself; None without any."""
    kept = [*_kept_in(_fields_of(stored)).values()]
    return decode_json(kept[-1]) if kept else None


def _fields_of(stored: bytes) -> dict[str, msgspec.Raw]:
    return _decode(stored) if stored else {}


def _kept_in(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return _decode(fields[_FIELD]) if _FIELD in fields else {}


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
