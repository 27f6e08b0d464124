"""Seeing which folders are looked through."""

from collections.abc import Callable
from typing import Any


def listing(real: Callable[..., Any], listed: list[str]) -> Callable[..., Any]:
    """Return a function that lists a folder as `real` does and notes which."""

    def list_folder(folder: object = ".") -> Any:
        listed.append(str(folder))
        return real(folder)

    return list_folder
