"""What was used last, as much as fits."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ("Cache",)

K = TypeVar("K")
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Values with their sizes, bounded in number and in bytes; the least recently used goes first.

    Args:
        most: entries.
        limit_bytes: of all entries together, as they are given.
    """

    def __init__(self, most: int, limit_bytes: int) -> None:
        self._most = most
        self._limit = limit_bytes
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size = 0
        """Bytes kept."""

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """Return what is kept under a key; it counts as used now."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value, if it fits, and drop others that do not fit any more."""
        self._drop(key)
        self._kept[key] = value, size
        self.size += size
        while self.size > self._limit or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def items(self) -> Iterator[tuple[K, V]]:
        """Yield what is kept, which must not change meanwhile; none of it counts as used."""
        return ((key, value) for key, (value, _) in self._kept.items())

    def forget(self, is_forgotten: Callable[[K], bool]) -> None:
        """Drop the entries whose keys are meant."""
        for key in list(filter(is_forgotten, self._kept)):
            self._drop(key)

    def _drop(self, key: K) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self.size -= size
