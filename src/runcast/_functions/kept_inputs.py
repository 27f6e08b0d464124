"""What a run keeps of its inputs: enough to show them and to run again with them, no secrets.

The kept inputs are stored beside the run's log, not in it. So no event, stream or export holds
them.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runcast._functions.converting import encode_input
from runcast._functions.function import Function
from runcast._functions.secrets import Redactor
from runcast.events.plain import MAX_DEPTH, decode_json
from runcast.events.vocabulary import is_deeper

__all__ = (
    "MAX_INPUTS_BYTES",
    "NO_INPUTS",
    "KeptInputs",
    "keep_inputs",
    "left_out_of",
    "read_inputs",
)

MAX_INPUTS_BYTES: Final = 64 * 1024
"""Most bytes of the inputs that are kept, as JSON. An input that does not fit is left out."""

_MAX_NAME_CHARS: Final = 256
_MAX_LEFT_OUT: Final = 32
"""Most inputs that are named as left out; others are counted."""


class KeptInputs(msgspec.Struct, omit_defaults=True):
    """Inputs as they are kept.

    `values` has them by name. `left_out` says of each other input why it is not kept. `files`
    counts the files that were given, by group. `dropped` counts inputs that `left_out` has no room
    for.
    """

    values: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    files: dict[str, int] = {}
    dropped: int = 0


class _Stored(KeptInputs):
    """What is stored beside a log."""

    only_kept: bool = False
    """Whether no inputs are kept, but other values of the run; see `NO_INPUTS`."""


NO_INPUTS: Final = b'{"only_kept":true}'
"""What a run's values are added to if its inputs are not kept."""


def keep_inputs(
    function: Function[..., Any],
    inputs: Mapping[str, Any],
    secrets: Mapping[str, str],
    files: Mapping[str, int],
) -> bytes:
    """Return what is kept of a run's inputs, as JSON; b"" if the function keeps nothing.

    Other values of the run may be added to it, see `runcast._producing.keeping`.

    An input is left out if it is declared as a secret or as bytes, if it contains the value of a
    secret that the run was given, if JSON cannot hold it, or if it does not fit.
    """
    if not function.store_inputs:
        return b""
    kept = KeptInputs(files=dict(files))
    redactor, room = Redactor(secrets.values()), MAX_INPUTS_BYTES
    for name, value in inputs.items():
        encoded, reason = _encode(value, function.hidden_inputs.get(name, ""), redactor)
        size = len(encoded) + len(msgspec.json.encode(name)) + 2  # a colon and a comma
        if not reason and size > room:
            reason = f"too long: {len(encoded)} bytes"
        if not reason:
            kept.values[name] = msgspec.Raw(encoded)
            room -= size
        elif len(kept.left_out) < _MAX_LEFT_OUT:
            kept.left_out[name[:_MAX_NAME_CHARS]] = reason
        else:
            kept.dropped += 1
    return msgspec.json.encode(kept)


def read_inputs(stored: bytes) -> KeptInputs | None:
    """Return kept inputs; None if nothing was kept."""
    found = msgspec.json.decode(stored, type=_Stored) if stored else None
    if found is None or found.only_kept:
        return None
    return KeptInputs(found.values, found.left_out, found.files, found.dropped)


def left_out_of(stored: bytes) -> str:
    """Return the names of the inputs that are not kept, with the reasons; "" if all are."""
    kept = read_inputs(stored)
    if kept is None:
        return ""
    named = [f"{name} ({why})" for name, why in kept.left_out.items()]
    return ", ".join([*named, *([f"{kept.dropped} more"] if kept.dropped else [])])


def _encode(value: object, hidden: str, redactor: Redactor) -> tuple[bytes, str]:
    """Return a value as JSON, and why it is not kept, or ""."""
    if hidden:
        return b"", hidden
    try:
        encoded = encode_input(value)
        is_deep = is_deeper(decode_json(encoded), MAX_DEPTH)
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        return b"", "not JSON"
    if is_deep:
        return b"", f"nested more than {MAX_DEPTH} deep"
    return encoded, "secret" if redactor.is_in(encoded) else ""
