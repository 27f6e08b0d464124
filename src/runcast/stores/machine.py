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

__all__ = ("is_alive", "is_dead", "this_process")


def this_process() -> Owner:
    """Return this process as an owner, with an id of its own."""
    pid = os.getpid()
    return Owner(owner_id=uuid.uuid4().hex, machine=_machine(), pid=pid, started=_start_time(pid))


def is_dead(owner: Owner) -> bool:
    """Tell whether an owner is certainly dead: its boot is over, or its process is gone."""
    here = _machine()
    if not here or not owner.machine or not owner.started:
        return False
    if owner.machine != here:
        # Another process namespace of this boot says nothing; another boot is over, as a database
        # file is never on two machines at once (network file systems are refused).
        return owner.machine.split("/")[0] != here.split("/")[0]
    return _start_time(owner.pid) != owner.started


def is_alive(owner: Owner) -> bool:
    """Tell whether an owner is certainly alive: its process runs on this machine now."""
    here = _machine()
    return bool(
        here and owner.started and owner.machine == here and _start_time(owner.pid) == owner.started
    )


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
