"""Programs that are run in forks of a process which has imported what they import.

A new interpreter imports runcast in a fifth of a second, and the client of a model in three
seconds. A fork of one that has done so begins at once, and shares nothing with earlier forks.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.environment import environment
from tests.waiting import START_S, WAIT_S

__all__ = ("Ended", "Programs")

_TEMPLATE: Final = """
import importlib, json, os, signal, sys, types

def next_program():
    while line := sys.stdin.readline():
        call = json.loads(line)
        if not (child := os.fork()):
            return call
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()

for name in sys.argv[1:]:
    importlib.import_module(name)
call = next_program()
signal.alarm(call["seconds"])
for number, (file, flags) in enumerate(call["standard"]):
    os.dup2(os.open(file, flags), number)
os.chdir(call["folder"])
sys.argv = [call["program"]]
sys.path[0] = os.path.dirname(call["program"])
main = sys.modules["__main__"] = types.ModuleType("__main__")
main.__file__ = call["program"]
with open(call["program"], encoding="utf-8") as file:
    code = compile(file.read(), file.name, "exec")
exec(code, main.__dict__)
"""
"""A fork becomes the program: it ends like an interpreter that has run it."""

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Ended(NamedTuple):
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


class Programs:
    """Runs programs one after the other, each in a fork. Use `with`.

    Args:
        imports: what the forked process imports, besides runcast.
    """

    def __init__(self, *imports: str) -> None:
        self._imports = ("runcast._app", *imports)

    def __enter__(self) -> Self:
        self._template = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _TEMPLATE, *self._imports],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._template.kill()
        self._template.communicate(timeout=WAIT_S)

    def run(self, program: Path) -> Ended:
        """Run a program in its folder, with warnings as errors; end it after twice `START_S`."""
        out, err = program.with_suffix(".out"), program.with_suffix(".err")
        call = {
            "program": str(program),
            "folder": str(program.parent),
            "seconds": int(2 * START_S),  # it may import several clients of models
            "standard": [(os.devnull, os.O_RDONLY), (str(out), _WRITE), (str(err), _WRITE)],
        }
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        print(json.dumps(call), file=self._template.stdin, flush=True)
        code = int(self._template.stdout.readline())
        return Ended(code, out.read_text("utf-8"), err.read_text("utf-8"))
