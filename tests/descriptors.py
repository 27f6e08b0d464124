"""A full table of descriptors, in which nothing more can be opened."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ("full_table",)


@contextmanager
def full_table() -> Iterator[None]:
    """Let this process open nothing more inside the block."""
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
