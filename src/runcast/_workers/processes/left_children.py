"""Processes that code has left behind by `multiprocessing`, which waits for them at the end."""

import sys
from multiprocessing.process import BaseProcess
from time import sleep
from typing import Final

__all__ = ("end_left_children",)

_POLL_S: Final = 0.01


def end_left_children(grace_s: float = 0.0) -> None:
    """End the processes that this one would wait for.

    Args:
        grace_s: how long they may take to end by SIGTERM; with 0 they are killed at once.
    """
    if "multiprocessing" not in sys.modules:
        return
    import multiprocessing

    children = multiprocessing.active_children()
    if grace_s > 0:
        for child in children:
            child.terminate()
        for _ in range(max(1, round(grace_s / _POLL_S))):
            if not any(map(BaseProcess.is_alive, children)):
                return
            sleep(_POLL_S)
    for child in children:
        child.kill()
