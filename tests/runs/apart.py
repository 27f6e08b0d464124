"""Processes that run functions of `continued`, to be killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.environment import environment

__all__ = ("running_apart", "wait_for_event")

_ROOT = Path(__file__).parents[2]


@contextmanager
def running_apart(
    url: str, function: str, inputs: dict[str, Any] | None = None, module: str = "continued"
) -> Iterator["subprocess.Popen[str]"]:
    """A process that knows a function, for the length of a block; then it is killed.

    Args:
        inputs: start the run "r" of the function with them; None starts nothing.
    """
    command = [sys.executable, "-m", f"tests.runs.{module}" if "." not in module else module]
    command += [url, function, *([] if inputs is None else [json.dumps(inputs)])]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=_ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_event(process: "subprocess.Popen[str]", *kinds: str) -> None:
    """Return once the process has shown events of these types, one after the other."""
    assert process.stdout is not None
    wanted = list(kinds)
    for line in process.stdout:
        if line.strip() == wanted[0]:
            wanted.pop(0)
            if not wanted:
                return
    raise AssertionError(f"it ended before {wanted}")
