"""Functions as the guide has them: they know only their working directory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import runcast


def upper(group: str) -> Iterator[dict[str, Any]]:
    """Write each input in capitals."""
    files = sorted(Path("data/inputs", group).iterdir())
    yield {"type": "start", "data": {"total": len(files)}}
    for number, file in enumerate(files, start=1):
        Path("data/outputs", file.name).write_text(file.read_text("utf-8").upper(), "utf-8")
        yield {"type": "progress", "data": {"current": number, "total": len(files)}}
    yield {"type": "done", "data": {"count": len(files)}}


def where() -> list[str]:
    """Return the working directory and the workspace."""
    return [str(Path.cwd()), str(runcast.workspace())]


def leave(wait: bool = False) -> None:
    """Leave a file, and then, perhaps, wait."""
    (runcast.workspace() / "data" / "outputs" / "left.txt").write_text("left", "utf-8")
    if wait:
        runcast.ask("go on?")


def nothing() -> None:
    """Do nothing."""
