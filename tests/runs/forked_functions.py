"""Functions whose processes are forked: what they find, and what they do to their fork server."""
# ruff: noqa: T201 - what they print is what is tested

import multiprocessing
import os
import random
import signal
import ssl
import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

import runcast

print("imported by", os.getpid())

GENERATOR = random.Random()
CALLS: list[int] = []


@runcast.function(isolation="process")
def find() -> dict[str, Any]:
    """Return what no two calls may share, and what all must find alike."""
    CALLS.append(os.getpid())
    os.chdir("/")
    found = {
        "pid": os.getpid(),
        "server": os.getppid(),
        "drawn": [
            *(str(random.random()), str(GENERATOR.random()), str(uuid.uuid4())),
            *(ssl.RAND_bytes(8).hex(), multiprocessing.current_process().authkey.hex()),
        ],
        "calls": len(CALLS),
        "is_leader": os.getsid(0) == os.getpgrp() == os.getpid(),
        "umask": os.umask(0o777),
        "signal": signal.signal(signal.SIGUSR1, signal.SIG_IGN) is signal.SIG_DFL,
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:3],
    }
    os.environ["LEFT"] = "behind"
    return found


@runcast.function(isolation="process")
def wait_after(act: str) -> Iterator[dict[str, Any]]:
    """Do something to itself or its fork server, and wait for ever."""
    if act == "close":
        os.closerange(3, 1 << 16)
    elif act == "fork":
        for _ in range(3):
            os.fork()
    elif act == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
    elif act == "stop":
        os.kill(os.getppid(), signal.SIGSTOP)
    if act == "close":
        print("closed", os.getpid(), flush=True)
    else:
        yield {"type": "ready", "data": os.getpid()}
    while True:
        signal.pause()


@runcast.function(isolation="process")
def leave(code: int) -> NoReturn:
    os._exit(code)


def parent() -> int:
    return os.getppid()
