"""The lease by which a process tells others that it lives, so that they leave its logs alone."""

from collections.abc import Callable
from typing import Final

from runcast._hub.rounds import Rounds
from runcast._logs import get_logger
from runcast.errors import BackendError, StoreReadOnly, StoreUnavailable
from runcast.stores.base import Owner, Store

__all__ = ("Lease",)

_RENEWALS_PER_LEASE: Final = 3
"""Chances to renew a lease before it is over."""

_log: Final = get_logger("runcast.hub")


class Lease:
    """Held from the first `hold` to `close`, and renewed meanwhile.

    Args:
        identify: returns this process; called by `hold`, since a server may make its hub, then fork
            workers, each of which opens it.
        lease_s: how long the store takes the process for alive after each renewal.
    """

    def __init__(self, store: Store, identify: Callable[[], Owner], lease_s: float) -> None:
        self._store = store
        self._identify = identify
        self._lease_s = lease_s
        self._owner: Owner | None = None
        self._is_held = self._is_lacking = False
        # Apart from all else, since nothing that is done to logs may hold up the renewal.
        self._rounds = Rounds(self._renew, lease_s / _RENEWALS_PER_LEASE, "renewing the lease")

    @property
    def owner_id(self) -> str:
        """This process, as the store knows it. Raises `StoreUnavailable` before `hold`."""
        if self._owner is None:
            raise StoreUnavailable("the hub is not open; use `async with`")
        return self._owner.owner_id

    async def hold(self) -> None:
        """Return once the store knows that this process lives.

        Raises:
            StoreReadOnly: nothing can be owned in this store.
            StoreUnavailable: the lease could not be taken yet; that is tried again and again.
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
        """Return unless logs cannot be owned now: without a lease others would take them for lost.

        Raises:
            StoreUnavailable: `hold` could not take the lease, and no later try has.
        """
        if self._is_lacking:
            raise StoreUnavailable(
                "the store does not know yet that this process lives; try again soon"
            )

    async def close(self) -> None:
        """Give the lease up. Idempotent; `hold` may follow, for another owner."""
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
