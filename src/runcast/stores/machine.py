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

__all__ = ("is_alive", "is_elsewhere", "this_boot", "this_process")


def this_process() -> Owner:
    """Return this process as an owner, with an id of its own."""
    pid = os.getpid()
    return Owner(owner_id=uuid.uuid4().hex, machine=_machine(), pid=pid, started=_start_time(pid))


def this_boot() -> str:
    """Return what names the boot and the time namespace of this process: where two processes agree
    on it, their monotonic clocks agree. "" where the platform does not tell."""
    return _named("time")


def is_alive(owner: Owner) -> bool | None:
    """Tell whether an owner's process runs; None where that cannot be known, as on another machine
    or in another container."""
    here = _machine()
    if not here or owner.machine != here or not owner.started:
        return None
    started = _start_time(owner.pid)
    # Nobody may see another user's process where /proc is mounted with `hidepid`.
    return None if not started and _exists(owner.pid) else started == owner.started


def is_elsewhere(owner: Owner) -> bool:
    """Tell whether an owner is of another boot than this one, of this machine or of another."""
    here = _machine()
    if not here or not owner.machine or not owner.started:
        return False
    return owner.machine.split("/")[0] != here.split("/")[0]


def _machine() -> str:
    return _named("pid")


def _named(namespace: str) -> str:
    """Return the boot, and this process's namespace of a kind in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(f'/proc/self/ns/{namespace}')}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    """Tell whether a process is there that is not seen in /proc."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return not Path(f"/proc/{pid}").exists()


def _start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot, "" when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the command's name may hold anything, ")" too
    return "" if fields[0] in "ZX" else fields[19]
