"""`runcast send`: sends a message into a run."""

import argparse
from typing import Any
from urllib.parse import quote

from runcast._cli.editing import parse_json
from runcast._cli.remote import Remote, add_options, field_of, sendable
from runcast._cli.texts import plain

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
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Send a message.

    Raises:
        NotFound: the run does not exist.
        InvalidValue: the run has ended, or the message is refused.
        PeerError: the server cannot be reached, or cannot take the message now.
    """
    is_json = arguments.json is not None
    data = parse_json(arguments.json, "the message") if is_json else arguments.text
    body: dict[str, object] = {"data": data}
    if arguments.id:
        body["message_id"] = arguments.id
    if arguments.sender:
        body["from"] = arguments.sender
    path = f"/runs/{quote(arguments.run_id, safe='')}/messages"
    sent = Remote(arguments.url).ask("POST", path, body)
    was = "was sent before" if field_of(sent, "repeated") else "is sent"
    print(plain(f"{field_of(sent, 'message_id')} {was}"))
