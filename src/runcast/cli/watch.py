"""`runcast watch`, and how every command follows a run to its end."""

import argparse
import sys
from typing import Any
from urllib.parse import quote

from runcast.cli.follow import follow
from runcast.cli.remote import Remote, add_options
from runcast.cli.show import EXIT_CODES, Screen
from runcast.errors import InvalidValue
from runcast.events.position import Position

__all__ = ("add_to", "run", "watch")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "watch",
        help="watch a run until it ends",
        description="Shows what a run does, from its beginning, until it ends; the exit code tells "
        "how: 0 done, 1 failed, 3 cancelled. Ctrl-C leaves; the run goes on.",
    )
    parser.add_argument("run_id", metavar="RUN_ID")
    parser.add_argument(
        "--after", metavar="POSITION", default="", help="begin behind this position, not at first"
    )
    parser.add_argument("--json", action="store_true", help="print one event a line, as JSON")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Watch a run. Raises as `follow` does."""
    if arguments.after:
        Position.parse(arguments.after)
    remote = Remote(arguments.url)
    return watch(remote, arguments.run_id, as_json=arguments.json, after=arguments.after)


def watch(remote: Remote, run_id: str, *, as_json: bool, after: str = "") -> int:
    """Show a run until it ends; return the exit code of its ending.

    Ctrl-C leaves, says how to come back, and returns 130. Raises as `follow` does.
    """
    if not run_id:
        raise InvalidValue("expected a run id")
    screen = Screen(as_json=as_json)
    code = 1
    try:
        for event in follow(remote, f"/runs/{quote(run_id, safe='')}", after):
            screen.show(event)
            code = EXIT_CODES.get(event.type, 1)
    except KeyboardInterrupt:
        screen.close()
        print(
            f"the run goes on; come back with: runcast watch {run_id}\n"
            f"or end it with: runcast cancel {run_id}",
            file=sys.stderr,
        )
        return 130
    finally:
        screen.close()
    return code
