"""Run as `python -m runcast._cli.probe` in its own process: import a module and describe its
functions.

An import may do anything, so it does not run in the caller's process. The request comes as JSON on
standard input; the result goes as JSON to standard output.
"""

import os
import sys
import traceback
from typing import Any

import msgspec

from runcast._functions.function import Source
from runcast._workers.processes.child import find_function, import_source
from runcast._workers.processes.forkable import ForkCheck, is_supported
from runcast._workers.processes.reseeding import RandomState
from runcast.errors import InvalidValue

__all__ = ("Known", "Probed", "Request", "main")


class Request(msgspec.Struct):
    """A module's location, and the names of its functions."""

    source: Source
    names: list[str]


class Known(msgspec.Struct):
    """The facts about one function. `problem` says why the rest is unknown; usually ""."""

    problem: str = ""
    is_streaming: bool = False
    takes: list[str] = []
    needs: list[str] = []
    takes_more: bool = False


class Probed(msgspec.Struct):
    """The result: the traceback of a failed import, or why the process must not be forked after it
    ("" if it may be), and the facts by function name."""

    error: str = ""
    unforkable: str = ""
    functions: dict[str, Known] = {}


def main() -> None:
    """Answer the request on standard input."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep the module's output out of the answer
    sys.path[:0] = [path for path in request.source.paths if path not in sys.path]
    probed = Probed()
    check = ForkCheck() if is_supported() else None
    try:
        module = import_source(request.source)
    except BaseException:  # noqa: BLE001 - SystemExit too; reported in the answer
        probed.error = traceback.format_exc(limit=-3)
    else:
        if check is not None:
            probed.unforkable = check.problem() or RandomState().problem()
        probed.functions = {name: _known(module, name) for name in request.names}
    answer.write(msgspec.json.encode(probed))
    answer.close()
    os._exit(0)  # do not wait for threads that the module began


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
