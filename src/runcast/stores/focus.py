"""Stores that need not hand over what other processes append to logs that nobody watches here."""

from typing import Protocol, runtime_checkable

from runcast.stores.base import SharedStore, Store

__all__ = ("Focus", "FocusedStore")


@runtime_checkable
class FocusedStore(SharedStore, Protocol):
    """A shared store that can leave out what other processes append to logs nobody watches here."""

    async def focus(self) -> None:
        """Call listeners with appends of others only for watched logs, from now on.

        They are still called with every change of which `Changes` reports, and with changes of
        owners. Raises `StoreUnavailable`.
        """
        ...

    async def watch(self, log_id: str) -> None:
        """Return once listeners are called with each later append to a log.

        Read the log after that, and nothing is missed. Raises `StoreUnavailable`. Idempotent.
        """
        ...

    def leave(self, log_id: str) -> None:
        """Stop to watch a log. Idempotent."""
        ...


class Focus:
    """The focus of any store: a store that has none hands over every append."""

    def __init__(self, store: Store) -> None:
        self._store = store if isinstance(store, FocusedStore) else None

    async def begin(self) -> None:
        """Hear only of appends to watched logs, like `FocusedStore.focus`."""
        if self._store is not None:
            await self._store.focus()

    async def watch(self, log_id: str) -> None:
        """Watch a log like `FocusedStore.watch`."""
        if self._store is not None:
            await self._store.watch(log_id)

    def leave(self, log_id: str) -> None:
        """Stop to watch a log like `FocusedStore.leave`."""
        if self._store is not None:
            self._store.leave(log_id)
