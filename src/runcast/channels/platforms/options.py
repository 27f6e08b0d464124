"""Reading the options of a target."""

from collections.abc import Mapping

from runcast.errors import InvalidValue

__all__ = ("optional", "required")


def required(options: Mapping[str, str], name: str, platform: str) -> str:
    """Return an option. Raises `InvalidValue` if it is missing."""
    value = options.get(name, "")
    if not value:
        raise InvalidValue(f"a target on {platform} needs the option {name}")
    return value


def optional(options: Mapping[str, str], name: str, otherwise: str = "") -> str:
    """Return an option or its default."""
    return options.get(name) or otherwise
