"""The command `runcast`: parses the command line and hands over to a module per command."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from runcast import __version__
from runcast.cli import answer, doctor, invoke, runs, serve, watch
from runcast.cli.exits import DONE, LEFT, NO_READER, NO_SERVER, WRONG_USE
from runcast.errors import PeerError, RuncastError

__all__ = ("main", "make_parser")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, one of `exits.EXIT_CODES`.

    Args:
        argv: the arguments without the program's name; `sys.argv` by default.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # whoever calls us has put something else there
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    arguments = make_parser().parse_args(argv)
    try:
        code = arguments.run(arguments) or DONE
        sys.stdout.flush()
    except PeerError as error:
        print(f"runcast: {error.message}", file=sys.stderr)
        return NO_SERVER
    except RuncastError as error:
        print(f"runcast: {error.message}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        return LEFT
    except BrokenPipeError:
        # Python would flush what is left at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    return int(code)


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
