"""The identity of this process, and whether another process on this machine is dead.

With a lease alone, a crashed run would stay open until the lease ends. On one machine more is
known: a process id together with its start time identifies a process exactly, and a boot id
identifies one boot of a kernel. If the platform does not report these, every function here answers
"unknown", and only the lease counts.
"""

import os
import uuid
from pathlib import Path

from runcast.stores.base import Owner

__all__ = ("is_alive", "is_elsewhere", "this_boot", "this_process")


def this_process() -> Owner:
    """Return this process as an owner, with a new id."""
    pid = os.getpid()
    return Owner(owner_id=uuid.uuid4().hex, machine=_machine(), pid=pid, started=_start_time(pid))


def this_boot() -> str:
    """Return the id of this process's boot and time namespace, "" if the platform reports no boot.

    The monotonic clocks of two processes agree if their ids agree.
    """
    return _named("time")


def is_alive(owner: Owner) -> bool | None:
    """Return whether an owner's process runs; None if that is unknown, as on another machine or in
    another container."""
    here = _machine()
    if not here or owner.machine != here or not owner.started:
        return None
    started = _start_time(owner.pid)
    # With `hidepid` in the mount options of /proc, other users' processes are invisible.
    return None if not started and _exists(owner.pid) else started == owner.started


def is_elsewhere(owner: Owner) -> bool:
    """Return whether an owner belongs to another boot, of this machine or of another."""
    here = _machine()
    if not here or not owner.machine or not owner.started:
        return False
    return owner.machine.split("/")[0] != here.split("/")[0]


def _machine() -> str:
    return _named("pid")


def _named(namespace: str) -> str:
    """Return the boot id and this process's namespace of one kind."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(f'/proc/self/ns/{namespace}')}"
    except OSError:
        return ""


def _exists(pid: int) -> bool:
    """Return whether a process exists that /proc does not show."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return not Path(f"/proc/{pid}").exists()


def _start_time(pid: int) -> str:
    """Return the start time of a process in clock ticks since boot, "" if it is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the command's name may hold any character, even ")"
    return "" if fields[0] in "ZX" else fields[19]
