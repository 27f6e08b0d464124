"""`runcast send`: sends a message into a run."""

import argparse
from typing import TYPE_CHECKING, Any

from runcast._cli.dialog import parse_json
from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.texts import plain

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "run")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "send",
        help="send a message into a run",
        description="Sends a message into a run, which reads it from runcast.inbox().",
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("text", metavar="TEXT", type=sendable, nargs="?", help="the message")
    what.add_argument("--json", metavar="JSON", type=sendable, help="the message as JSON")
    parser.add_argument(
        "--id",
        metavar="ID",
        type=sendable,
        default="",
        help="the message's id; the same message under the same id is stored once",
    )
    parser.add_argument(
        "--from", metavar="NAME", type=sendable, default="", dest="sender", help="who sends it"
    )
    add_options(parser)
    parser.set_defaults(run=with_client(run))


def run(client: "Client", arguments: argparse.Namespace) -> int:
    """Send a message. Raises what `Client.send` raises."""
    is_json = arguments.json is not None
    data = parse_json(arguments.json, "the message") if is_json else arguments.text
    sent = client.send(arguments.run_id, data, message_id=arguments.id, sender=arguments.sender)
    print(plain(f"{sent.message_id} {'was sent before' if sent.repeated else 'is sent'}"))
    return 0
