"""Processes in a namespace of their own, as in a container."""

import os
import shutil
from typing import Final

import pytest

__all__ = ("container",)

_UNSHARE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
_AS_ROOT_THERE: Final = ("--user", "--map-root-user")
"""Without which only root may make such a namespace."""


def container() -> tuple[str, ...]:
    """Return the beginning of a command that is process 1 of a namespace of its own. Killing what
    was started kills all processes there. Skips the test where `unshare` is missing."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is missing")
    return (*_UNSHARE, *(_AS_ROOT_THERE if os.geteuid() else ()))
