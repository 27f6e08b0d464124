"""Upload the files for a run."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from runcast._cli.terminal import meter
from runcast._functions.file_groups import check_key
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("parse_files", "upload")


def parse_files(pairs: Iterable[str]) -> list[tuple[str, Path]]:
    """Return the group and the path of each file in the options.

    Raises:
        InvalidValue: an option is malformed, or its file does not exist.
    """
    found = []
    for pair in pairs:
        key, equals, path = pair.partition("=")
        if not equals or not path:
            raise InvalidValue(f"expected --file KEY=PATH, got {pair[:200]!r}")
        file = Path(path).expanduser()
        if not file.is_file():
            raise InvalidValue(f"there is no file {str(file)!r}")
        if not os.access(file, os.R_OK):
            raise InvalidValue(f"the file {str(file)!r} may not be read")
        found.append((check_key(key), file))
    return found


async def upload(
    client: "AsyncClient", files: Iterable[tuple[str, Path]]
) -> dict[str, list[dict[str, str]]]:
    """Upload files; return the references for an invocation. Raises what `client.upload` raises."""
    groups: dict[str, list[dict[str, str]]] = {}
    for key, path in files:
        name = os.fsencode(path.name).decode("utf-8", "replace")
        with meter("sending", name, path.stat().st_size) as passed:
            reference = await client.upload(path, name=name, on_bytes=passed)
        groups.setdefault(key, []).append(reference)
    return groups
