"""Run as `python -m runcast._cli.probe`, in a process of its own: imports a module of functions and
tells what they are. Importing may do anything, so it is not done where somebody waits.

It reads a request as JSON from standard input, and writes what it found as JSON to standard output.
"""

import os
import sys
import traceback
from typing import Any

import msgspec

from runcast._functions.function import Source
from runcast._workers.processes.child import find_function, import_source
from runcast.errors import InvalidValue

__all__ = ("Known", "Probed", "Request", "main")


class Request(msgspec.Struct):
    """Where a module is, and the names of its functions."""

    source: Source
    names: list[str]


class Known(msgspec.Struct):
    """What a function really is. `problem` is why nothing else is known, "" if that is no case."""

    problem: str = ""
    is_streaming: bool = False
    takes: list[str] = []
    needs: list[str] = []
    takes_more: bool = False


class Probed(msgspec.Struct):
    """What came of it: the traceback of the import that failed, or what is known by name."""

    error: str = ""
    functions: dict[str, Known] = {}


def main() -> None:
    """Answer the request on standard input."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the module prints is no answer
    sys.path[:0] = [path for path in request.source.paths if path not in sys.path]
    probed = Probed()
    try:
        module = import_source(request.source)
    except BaseException:  # noqa: BLE001 - SystemExit, too: it is told
        probed.error = traceback.format_exc(limit=-3)
    else:
        probed.functions = {name: _known(module, name) for name in request.names}
    answer.write(msgspec.json.encode(probed))
    answer.close()
    os._exit(0)  # threads that the module has begun do not matter


def _known(module: Any, name: str) -> Known:
    try:
        function = find_function(module, name)
    except InvalidValue as error:
        return Known(problem=error.message)
    return Known(
        is_streaming=function.is_streaming,
        takes=[parameter.name for parameter in function.parameters],
        needs=[parameter.name for parameter in function.parameters if parameter.required],
        takes_more=function.takes_more,
    )


if __name__ == "__main__":
    main()
