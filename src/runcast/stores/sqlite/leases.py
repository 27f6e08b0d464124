"""Leases in the file on one machine, and which owners are surely dead.

A lease ends by the monotonic clock that all processes of one boot share. Nobody can set this clock,
and it stops while the machine sleeps. The wall clock counts only if the boot is unknown.
"""

from typing import NamedTuple

from runcast._clock import Clock
from runcast.stores.base import Owner
from runcast.stores.machine import is_alive, is_elsewhere, this_boot

__all__ = ("Lease", "is_owning")


class Lease(NamedTuple):
    """An owner and the end of its lease.

    Args:
        expires_at: by the wall clock, Unix seconds.
        boot: the owner's boot, from `this_boot`; "" if unknown.
        ends: by the monotonic clock of that boot, seconds.
    """

    owner: Owner
    expires_at: float
    boot: str = ""
    ends: float = 0.0


def is_owning(lease: Lease | None, clock: Clock) -> bool:
    """Return whether the owner of a lease still owns its runs."""
    if lease is None:
        return False
    # A database file is never on two machines at once (network file systems are refused), so an
    # owner of another boot belongs to a boot that is over.
    alive = False if is_elsewhere(lease.owner) else is_alive(lease.owner)
    if alive is not None:
        return alive
    if lease.boot and lease.boot == this_boot():
        return lease.ends > clock.monotonic()
    return lease.expires_at > clock.time()
