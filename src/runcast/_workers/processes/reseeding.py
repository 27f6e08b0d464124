"""Random generators that a module has made at its import: each fork seeds them again.

Without that all forks would draw the same numbers. Generators that a module has seeded itself are
seeded again, too, because nothing tells them from others. The generators of the system
(`os.urandom`, `secrets`, `uuid.uuid4`, `ssl`) need nothing.
"""

import gc
import os
import random
import sys
from multiprocessing.process import current_process
from typing import Any, Final

__all__ = ("RandomState",)

_NUMPY: Final = "numpy.random.bit_generator"


class RandomState:
    """The random state of this process. Make it after the import, and before `gc.freeze`."""

    def __init__(self) -> None:
        self._generators: list[random.Random] = []
        self._numpy: list[Any] = []
        base = getattr(sys.modules.get(_NUMPY), "BitGenerator", ())
        for each in gc.get_objects():
            kind = type(each)  # not `isinstance`, which would wake lazy objects
            if issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
                self._generators.append(each)
            elif issubclass(kind, base):
                self._numpy.append(each)
        self._authkey = bytes(current_process().authkey)

    def problem(self) -> str:
        """Return why it cannot be renewed, as "it has …"; "" if it can be."""
        for each in self._numpy:
            try:
                type(each)()
            except Exception:  # noqa: BLE001 - whatever a class of its own raises
                return f"it has a random generator that cannot be seeded again: {each!r:.100}"
        return ""

    def renew(self) -> None:
        """Seed all generators from the system's."""
        for generator in self._generators:
            random.Random.seed(generator)
        for each in self._numpy:
            each.state = type(each)().state
        # By this key the processes that a function starts know each other.
        if current_process().authkey == self._authkey:
            current_process().authkey = os.urandom(32)
