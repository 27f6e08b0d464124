"""`runcast doctor`: reports what would keep a server or its functions from working."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from runcast._cli.checkup import (
    Finding,
    check_files,
    check_installation,
    check_open_files,
    check_port,
    check_store,
    fail,
    ok,
)
from runcast._cli.checkup_channels import check_channels
from runcast._cli.checkup_target import check_functions, dry_run, load
from runcast._cli.exits import DONE, FAILED
from runcast._cli.invoke import add_inputs, parse_inputs
from runcast._cli.serve import DEFAULT_STORE, load_settings
from runcast._cli.show import is_terminal, print_json
from runcast._cli.texts import plain, plain_lines
from runcast._cli.upload import parse_files
from runcast._settings import Settings
from runcast.errors import InvalidValue, RuncastError

__all__ = ("add_to", "run")

_COLORS: Final = {"ok": 32, "warn": 33, "fail": 31}
_INDENT: Final = 6


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation, the store, the channels file and the functions",
        description="Checks what `runcast serve` needs: the installation, the settings, the store, "
        "the folder of files, open files and the port. Checks the chats of the channels file. Of a "
        "target's functions, checks what they declare, whether their own processes can import "
        "them, and whether those are forked. Each line says ok, warn or fail; after warn and fail "
        "it says what to do. The exit code is 1 if something fails, else 0.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="the target, as for `runcast serve`",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--store", metavar="URL", default=DEFAULT_STORE, help="where runs are kept (%(default)s)"
    )
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--channels",
        metavar="FILE",
        help="a channels file to check; default: the setting channels_file",
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="also ask the platforms of the channels file whether their tokens work; nothing is "
        "sent into a chat",
    )
    parser.add_argument(
        "--run",
        metavar="FUNCTION",
        dest="dry_run",
        help="run this function, with a store in memory, and check the order of its events; inputs "
        "or files alone run the target's only function",
    )
    add_inputs(parser)
    parser.add_argument(
        "--file",
        metavar="KEY=PATH",
        action="append",
        default=[],
        help="a file to give to that run; repeatable",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make all checks and print what they find; return 1 if one fails.

    Raises:
        InvalidValue: the inputs or files for a run are malformed, or there is no target to run.
    """
    inputs = parse_inputs(arguments.input, arguments.inputs)
    files = parse_files(arguments.file)
    if (inputs or files or arguments.dry_run) and arguments.target is None:
        raise InvalidValue("expected a TARGET with the function to run")
    has_failed = False
    for finding in _findings(arguments, inputs, files):
        has_failed |= finding.level == "fail"
        if arguments.json:
            print_json(finding._asdict())
            sys.stdout.flush()
        else:
            print(_shown(finding), flush=True)
    return FAILED if has_failed else DONE


def _findings(
    arguments: argparse.Namespace, inputs: dict[str, Any], files: list[tuple[str, Path]]
) -> Iterator[Finding]:
    yield from check_installation()
    try:
        settings = load_settings(arguments.settings)
        yield ok("settings", arguments.settings or "defaults and the environment")
    except RuncastError as error:
        settings = Settings()
        yield fail("settings", error.message, "correct it; the checks below use the defaults")
    yield check_open_files(settings)
    yield from check_store(arguments.store, settings)
    yield from check_files(arguments.store, settings)
    yield check_port(arguments.host, arguments.port)
    channels_file = arguments.channels or settings.channels_file
    yield from check_channels(channels_file, is_online=arguments.online)
    if arguments.target is None:
        return
    found: list[Finding] = []
    functions = load(arguments.target, found)
    yield from found
    yield from check_functions(functions, settings)
    name = arguments.dry_run
    if name is None and (inputs or files) and functions:
        if len(functions) > 1:
            todo = f"--run {' or --run '.join(function.name for function in functions)}"
            yield fail("run", "the inputs are for one of several functions", todo)
            return
        name = functions[0].name
    if name is not None and functions:
        yield from dry_run(functions, name, inputs, files, settings)


def _shown(finding: Finding) -> str:
    level = f"{finding.level:<4}"
    if is_terminal(sys.stdout) and not os.environ.get("NO_COLOR"):
        level = f"\x1b[{_COLORS[finding.level]}m{level}\x1b[0m"
    text = plain_lines(finding.told).replace("\n", "\n" + " " * _INDENT)
    todo = f"\n{' ' * _INDENT}→ {plain(finding.todo)}" if finding.todo else ""
    return f"{level}  {plain(finding.check):<12}  {text}{todo}"
