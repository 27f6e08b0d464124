"""The command line inside the process of the tests: a start costs no interpreter and no imports.

A few tests of each command start a real process, by `served.run`: those about signals, pipes,
terminals, encodings and what else belongs to a process.
"""

import io
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from runcast._cli import main
from tests.environment import environment

__all__ = ("run",)

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGWINCH)


def run(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run the command to its end, as `served.run` does. An exception that it lets out is raised.

    The command has an empty standard input, which is no terminal, and leaves the process as it
    was: files, folder, environment, signals.
    """
    handlers = [signal.getsignal(each) for each in _SIGNALS]
    with (
        mock.patch.dict(os.environ, environment(env), clear=True),
        chdir(cwd),
        open(os.devnull) as nothing,
        mock.patch.object(sys, "stdin", nothing),
        _captured("stdout") as out,
        _captured("stderr") as err,
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:  # how argparse ends a program
            code = int(ended.code or 0)
    assert [signal.getsignal(each) for each in _SIGNALS] == handlers
    return CompletedProcess(("runcast", *arguments), code, _text(out), _text(err))


@contextmanager
def _captured(name: str) -> Iterator[io.BytesIO]:
    """Make a standard file a file of its own, with a descriptor as every program has one."""
    content = io.BytesIO()
    with tempfile.TemporaryFile() as file:
        text = io.TextIOWrapper(file, "utf-8", errors="strict", write_through=False)
        with mock.patch.object(sys, name, text):
            yield content
            text.flush()
        file.seek(0)
        content.write(file.read())
        text.detach()


def _text(content: io.BytesIO) -> str:
    """Return what was written, its ends of lines as `subprocess` returns them."""
    return content.getvalue().decode().replace("\r\n", "\n").replace("\r", "\n")
