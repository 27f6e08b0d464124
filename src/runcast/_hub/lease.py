"""The lease that shows other processes that this one is alive, so that they leave its logs
alone."""

from collections.abc import Callable
from typing import Final

from runcast._hub.rounds import Rounds
from runcast._logs import get_logger
from runcast.errors import BackendError, StoreReadOnly, StoreUnavailable
from runcast.stores.base import Owner, Store

__all__ = ("Lease",)

_RENEWALS_PER_LEASE: Final = 3
"""Renewals within one lease time."""

_log: Final = get_logger("runcast.hub")


class Lease:
    """A lease, held and renewed from `hold` to `close`.

    Args:
        identify: returns this process. `hold` calls it, because a server may make its hub and then
            fork workers, each of which opens the hub.
        lease_s: how long the process counts as alive after each renewal.
    """

    def __init__(self, store: Store, identify: Callable[[], Owner], lease_s: float) -> None:
        self._store = store
        self._identify = identify
        self._lease_s = lease_s
        self._owner: Owner | None = None
        self._is_held = self._is_lacking = False
        # In its own task, because no work on logs may hold up the renewal.
        self._rounds = Rounds(self._renew, lease_s / _RENEWALS_PER_LEASE, "renewing the lease")

    @property
    def owner_id(self) -> str:
        """The id of this process in the store. Raises `StoreUnavailable` before `hold`."""
        if self._owner is None:
            raise StoreUnavailable("the hub is not open; use `async with`")
        return self._owner.owner_id

    async def hold(self) -> None:
        """Return once the lease is stored.

        Raises:
            StoreReadOnly: no log can be owned in this store.
            StoreUnavailable: the lease could not be stored yet; it will be tried again.
        """
        if self._is_held:
            return
        if self._owner is None:
            self._owner = self._identify()
        try:
            await self._renew()
        except StoreReadOnly:
            raise
        except BackendError:
            self._is_lacking = True
            self._rounds.open()
            raise
        self._rounds.open()

    def check(self) -> None:
        """Return if logs can be owned now. Without a lease, other processes would end them as lost.

        Raises:
            StoreUnavailable: the lease has not been stored yet.
        """
        if self._is_lacking:
            raise StoreUnavailable(
                "the store does not know yet that this process lives; try again soon"
            )

    async def close(self) -> None:
        """End the lease. Idempotent. `hold` may be called again, for another owner."""
        await self._rounds.close()
        owner, self._owner = self._owner, None
        was_held, self._is_held, self._is_lacking = self._is_held, False, False
        if owner is None or not was_held:
            return
        try:
            await self._store.renew(owner, 0)
        except BackendError as error:
            _log.warning("the lease could not be given up: %s", error)

    async def _renew(self) -> None:
        if self._owner is not None:
            await self._store.renew(self._owner, self._lease_s)
            self._is_held, self._is_lacking = True, False
