"""Leases as a file on one machine knows them, and which owners are dead for sure.

A lease ends by the clock that all processes of one boot share, which nobody can set and which
stands still while the machine sleeps. The wall clock counts only where the boot is not known.
"""

from typing import NamedTuple

from runcast._clock import Clock
from runcast.stores.base import Owner
from runcast.stores.machine import is_alive, is_elsewhere, this_boot

__all__ = ("Lease", "is_owning")


class Lease(NamedTuple):
    """An owner, and when its lease ends.

    Args:
        expires_at: by the wall clock, Unix seconds.
        boot: of the process that took it, as `this_boot` gives it; "" where that is not known.
        ends: by the monotonic clock of that boot, seconds.
    """

    owner: Owner
    expires_at: float
    boot: str = ""
    ends: float = 0.0


def is_owning(lease: Lease | None, clock: Clock) -> bool:
    """Tell whether the owner that took a lease still owns its runs."""
    if lease is None:
        return False
    # A database file is never on two machines at once (network file systems are refused): an owner
    # that is not of this boot is of one that is over.
    alive = False if is_elsewhere(lease.owner) else is_alive(lease.owner)
    if alive is not None:
        return alive
    if lease.boot and lease.boot == this_boot():
        return lease.ends > clock.monotonic()
    return lease.expires_at > clock.time()
