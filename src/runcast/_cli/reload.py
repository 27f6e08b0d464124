"""`runcast serve --reload`: a server that is started again whenever its code changes."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from runcast.errors import InvalidValue

__all__ = ("leave_the_terminals_group", "serve_again_and_again", "watched_folder")

_RELOADED: Final = "_RUNCAST_RELOADED"
"""Set in the environment of the servers that `--reload` starts."""


def leave_the_terminals_group() -> None:
    """Have Ctrl-C reach a server that `--reload` started once: from the process that started it."""
    if os.environ.pop(_RELOADED, ""):
        os.setpgid(0, 0)


def watched_folder(target: str | None) -> Path:
    """Return the folder whose code is watched: the target's own, or the working directory."""
    path = Path(target) if target else Path()
    if path.is_file():
        return path.parent.resolve()
    return (path if path.is_dir() else Path()).resolve()


def serve_again_and_again(target: str | None, argv: Sequence[str]) -> None:
    """Run `runcast` with these arguments, and again after each change, until Ctrl-C or SIGTERM.

    Each start is a process of its own. Changes of `.py` and `.json` files below the target's folder
    count. The old server gets SIGINT, and as long to end as it needs for its shutdown.

    Raises:
        InvalidValue: the package that watches files is not installed.
    """
    try:
        import watchfiles
    except ImportError:
        raise InvalidValue(
            "--reload needs the package watchfiles: pip install 'runcast[reload]'"
        ) from None
    folder = watched_folder(target)
    command = shlex.join([sys.executable, "-m", "runcast", *argv])
    os.environ[_RELOADED] = "1"
    print(f"watching {folder}; the server starts again when its code changes", file=sys.stderr)
    watchfiles.run_process(
        folder,
        target=command,
        target_type="command",
        watch_filter=_CodeFilter(watchfiles.DefaultFilter()),
        callback=lambda changes: print(f"{_named(changes)} changed", file=sys.stderr),
        sigint_timeout=30,
    )


class _CodeFilter:
    """Lets changes of code pass: Python files and manifests, not in folders of tools."""

    def __init__(self, usual: object) -> None:
        self._usual = usual

    def __call__(self, change: object, path: str) -> bool:
        usual = self._usual
        return path.endswith((".py", ".json")) and callable(usual) and bool(usual(change, path))


def _named(changes: object) -> str:
    paths = sorted({path for _, path in changes}) if isinstance(changes, set) else []
    return ", ".join(Path(path).name for path in paths[:3]) or "code"
