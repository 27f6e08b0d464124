"""Where the code of a function is."""

import msgspec

__all__ = ("Source",)


class Source(msgspec.Struct, frozen=True):
    """Where a function is: a module, and its file. `paths` are searched before the usual ones."""

    module: str
    file: str
    paths: tuple[str, ...] = ()
