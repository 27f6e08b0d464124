"""The command `runcast`: parses the command line and calls the module of the command."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, NoReturn

import runcast
from runcast._cli.exits import DONE, EXIT_CODES, LEFT, NO_READER, NO_SERVER, WRONG_USE
from runcast._cli.formatting import HelpFormatter
from runcast._cli.texts import plain_lines
from runcast.errors import PeerError, RuncastError

__all__ = (
    "main",
    "make_parser",
)

_MODULES: Final = {
    "serve": "serve",
    "worker": "worker",
    "run": "run",
    "functions": "functions",
    "invoke": "invoke",
    "watch": "watch",
    "runs": "runs",
    "cancel": "runs",
    "rm": "runs",
    "show": "inspect",
    "answer": "answer",
    "send": "send",
    "deliver": "deliver",
    "share": "share",
    "links": "share",
    "unshare": "share",
    "export": "export",
    "replay": "replay",
    "doctor": "doctor",
}
"""The module of each command, in the order of the help."""

_STANDARD_ERROR: Final = 2
"""The highest number of a standard file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code, one of `exits.EXIT_CODES`.

    Args:
        argv: the arguments without the program's name; `sys.argv` by default.
    """
    _open_closed_standard_files()
    if sys.stdout is None:  # closed by the shell: `>&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - kept open until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal can print every character
    given = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser(given[0] if given else "")
    if given[:1] in (["invoke"], ["doctor"]):
        from runcast._cli.invoke import with_lone_json

        given = with_lone_json(given)
    if not given:
        parser.print_help()
        return DONE
    arguments = parser.parse_args(given)
    arguments.argv = given
    try:
        code = arguments.run(arguments) or DONE
        sys.stdout.flush()
    except RuncastError as error:
        print(f"runcast: {plain_lines(error.message)}", file=sys.stderr)
        return NO_SERVER if _is_elsewhere(error) else WRONG_USE
    except KeyboardInterrupt:
        return LEFT
    except BrokenPipeError:
        _give_up_output()
        return NO_READER
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        _give_up_output()
        print(f"runcast: the output cannot be written: {error.strerror}", file=sys.stderr)
        return WRONG_USE
    return int(code)


def _is_elsewhere(error: RuncastError) -> bool:
    """Return whether the caller cannot correct it: the server is not there, or cannot do it now."""
    return isinstance(error, PeerError) or error.retryable or type(error) is RuncastError


def _open_closed_standard_files() -> None:
    """Open the null device for every closed standard file (input, output, error).

    Otherwise the next opened file gets that number: prints would go into that file, and uvloop
    aborts the process when it closes its own file there.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        pass
    os.close(opened)


def _give_up_output() -> None:
    """Discard the unwritten output, because Python would try to write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        command: the command that is given; other commands are left out then, because importing them
            takes a while. Any other text: all commands.
    """
    codes = (f"  {code:<4}{said}" for code, said in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="runcast",
        description="Streams what long-running functions do to any number of watchers.",
        epilog="exit codes:\n" + "\n".join(codes),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action=_ShowVersion)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = [_MODULES[command]] if command in _MODULES else dict.fromkeys(_MODULES.values())
    for name in modules:
        import_module(f"runcast._cli.{name}").add_to(commands)
    if command not in _MODULES:
        _add_completion(commands)
    return parser


class _ShowVersion(argparse.Action):
    """Prints the version, which is read only then: that takes 25 ms."""

    def __init__(self, option_strings: Sequence[str], **_: object) -> None:
        said = "show program's version number and exit"
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=said)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(f"runcast {runcast.__version__}")
        parser.exit()


def _add_completion(commands: Any) -> None:
    """Add `runcast completion`: the script by which a shell completes commands and options."""
    import shtab  # late, because other commands do not need it

    parser = commands.add_parser(
        "completion",
        help="print a script that completes commands in your shell",
        description="Prints a script for a shell.",
        epilog="examples:\n"
        '  eval "$(runcast completion bash)"                         # in ~/.bashrc\n'
        '  runcast completion zsh > "${fpath[1]}/_runcast"                   # once\n'
        "  runcast completion fish > ~/.config/fish/completions/runcast.fish # once\n"
        "  runcast completion tcsh > ~/.runcast.csh",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "shell",
        metavar="SHELL",
        choices=shtab.SUPPORTED_SHELLS,
        help=", ".join(shtab.SUPPORTED_SHELLS),
    )

    def run(arguments: argparse.Namespace) -> None:
        print(shtab.complete(make_parser(), shell=arguments.shell))

    parser.set_defaults(run=run)
