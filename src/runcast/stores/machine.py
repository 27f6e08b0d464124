"""Which process this is, and whether another one on this machine is dead.

A lease alone would leave a crashed run open until it is over. On one machine more is known: a
process id together with its start time names a process exactly, and a boot id names one life of a
kernel. Everything here answers "unknown" where the platform does not tell; then only the lease
counts.
"""

import os
import uuid
from pathlib import Path

from runcast.stores.base import Owner

__all__ = ("is_owning", "this_process")


def this_process() -> Owner:
    """Return this process as an owner, with an id of its own."""
    pid = os.getpid()
    return Owner(owner_id=uuid.uuid4().hex, machine=_machine(), pid=pid, started=_start_time(pid))


def is_owning(lease: tuple[Owner, float] | None, now: float) -> bool:
    """Tell whether an owner, given with when its lease ends, still owns its runs at a time."""
    if lease is None:
        return False
    owner, expires_at = lease
    alive = _is_alive(owner)
    return expires_at > now if alive is None else alive


def _is_alive(owner: Owner) -> bool | None:
    """Tell whether an owner's process runs; None where that cannot be known."""
    here = _machine()
    if not here or not owner.machine or not owner.started:
        return None
    if owner.machine == here:
        return _start_time(owner.pid) == owner.started
    if owner.machine.split("/")[0] == here.split("/")[0]:
        return None  # another process namespace of this boot
    # A database file is never on two machines at once (network file systems are refused), so that
    # boot is over.
    return False


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot, "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the command's name may hold anything, ")" too
    return "" if fields[0] in "ZX" else fields[19]
