"""Values of a program as events can hold them."""

from runcast.events.plain import make_plain, shown

__all__ = ("as_plain",)


def as_plain(value: object) -> object:
    """Return a value as JSON can hold it; as text, if it cannot."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    try:
        return make_plain(value)
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        return shown(value)
