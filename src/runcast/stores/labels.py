"""Labels, and the text that every store can keep."""

from collections.abc import Mapping

from runcast.errors import InvalidValue
from runcast.stores.base import MAX_LABEL_CHARS, MAX_LABELS

__all__ = ("check_text", "is_text", "merge_labels")


def merge_labels(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return labels as an append leaves them. Raises `InvalidValue` if they are malformed."""
    for name, value in new.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not name:
            raise InvalidValue(f"expected labels to be strings, got {name!r:.80}: {value!r:.80}")
        if max(len(name), len(value)) > MAX_LABEL_CHARS:
            raise InvalidValue(f"expected labels of at most {MAX_LABEL_CHARS} characters")
        check_text(name)
        check_text(value)
    merged = {name: value for name, value in {**old, **new}.items() if value != ""}
    if len(merged) > MAX_LABELS:
        raise InvalidValue(f"expected at most {MAX_LABELS} labels, got {len(merged)}")
    return merged


def is_text(text: str) -> bool:
    """Tell whether every store can keep a text: no NUL, no surrogate without its pair."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def check_text(text: str) -> None:
    """Raise `InvalidValue` unless every store can keep a text."""
    if not is_text(text):
        raise InvalidValue(f"expected text without NUL and lone surrogates, got {text[:140]!r}")
