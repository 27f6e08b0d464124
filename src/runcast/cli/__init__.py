"""The command `runcast`: parses the command line and hands over to a module per command."""

import argparse
import sys
from collections.abc import Sequence

from runcast import __version__
from runcast.cli import answer, doctor, invoke, runs, serve, watch
from runcast.errors import RuncastError

__all__ = ("main", "make_parser")

_WRONG_USE = 2
"""Exit code for what the user can put right, as argparse has it for a malformed command line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: its own, or 2 for what the user can put right.

    Args:
        argv: the arguments without the program's name; `sys.argv` by default.
    """
    arguments = make_parser().parse_args(argv)
    try:
        code = arguments.run(arguments)
    except RuncastError as error:
        print(f"runcast: {error.message}", file=sys.stderr)
        return _WRONG_USE
    except KeyboardInterrupt:
        return 0  # it was asked to end, and has
    return code or 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="runcast", description="Streams what long-running functions do, to whoever watches."
    )
    parser.add_argument("--version", action="version", version=f"runcast {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (serve, invoke, watch, runs, answer, doctor):
        command.add_to(commands)
    return parser
