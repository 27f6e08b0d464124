"""The dialects by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runcast._wire.dialects.base import Dialect, Encoder, LogRef
from runcast._wire.dialects.flat import Flat
from runcast._wire.dialects.flat_v3 import Flat3
from runcast._wire.dialects.named import Named
from runcast._wire.dialects.prefab import Prefab
from runcast._wire.dialects.runcast import Runcast
from runcast._wire.dialects.task import Task
from runcast.errors import InvalidValue

__all__ = ("DIALECTS", "Dialect", "Encoder", "LogRef", "get")

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (Runcast(), Named(), Task(), Prefab(), Flat(), Flat3())}
)
"""Every dialect; the first is the default."""


def get(name: str) -> Dialect:
    """Return the dialect with this name.

    Raises:
        InvalidValue: the name is unknown; the message lists the known ones.
    """
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise InvalidValue(f"expected a dialect, one of {', '.join(DIALECTS)}; got {name[:80]!r}")
    return dialect
