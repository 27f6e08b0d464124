"""`runcast deliver`: delivers a run to a chat."""

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from runcast._cli.exits import DONE, FAILED
from runcast._cli.reaching import add_options, open_client, open_store, sendable
from runcast._cli.show import print_json
from runcast._cli.texts import plain
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from runcast.channels.outcome import Receipt
    from runcast.client.model import DeliveryInfo

__all__ = ("add_to", "run")

# As in `channels.delivery_options`, which would load the channels for every command.
_SHOWS: Final = ("answer", "tools", "steps", "notice")
_FINISHES: Final = ("auto", "in_place", "fresh")

_FIELDS: Final = ("status", "message_ids", "reason", "strays", "may_be_shown")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "deliver",
        help="deliver a run to a chat",
        description="Delivers a run to a chat, waits for the end, and prints the receipt. A "
        "server goes on after Ctrl-C. With --store, this command delivers the run itself.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    parser.add_argument(
        "target",
        metavar="TARGET",
        type=sendable,
        help="a name of the channels file, like telegram:ops; with --store also an address, whose "
        "token other users of this machine can read",
    )
    parser.add_argument(
        "--shows",
        metavar="WHAT",
        choices=_SHOWS,
        help="beside questions and the end: answer (text), tools, steps, or notice (a few words, "
        "nothing else); default: as the channels file says, else tools",
    )
    parser.add_argument(
        "--finish",
        metavar="HOW",
        choices=_FINISHES,
        help="the end changes the last message (in_place), or is a new one (fresh); default: as "
        "the channels file says, else auto",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="leave it to the server, and do not wait for the end"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Deliver a run. Raises what `Client.deliver` and `Hub.deliver` raise."""
    if not arguments.store:
        with open_client(arguments) as client:
            delivery_id = client.deliver(
                arguments.run_id, arguments.target, shows=arguments.shows, finish=arguments.finish
            )
            if not arguments.no_wait:
                ended = client.receipt(arguments.run_id, delivery_id)
                return _show(ended, delivery_id, ended.target, is_json=arguments.json)
        if arguments.json:
            print_json({"delivery_id": delivery_id, "status": "delivering"})
        else:
            print(plain(f"the server delivers {arguments.run_id} to {arguments.target}"))
        return DONE
    if arguments.no_wait:
        raise InvalidValue(
            "expected --no-wait only with a server: with --store, the command delivers the run"
        )
    with open_store(arguments.store) as hub:
        delivery = hub.deliver(
            arguments.run_id, arguments.target, shows=arguments.shows, finish=arguments.finish
        )
        receipt = delivery.wait()
    if receipt is None:
        print("another process goes on with the delivery", file=sys.stderr)
        return FAILED
    return _show(receipt, delivery.delivery_id, delivery.target, is_json=arguments.json)


def _show(
    receipt: "Receipt | DeliveryInfo", delivery_id: str, target: str, *, is_json: bool
) -> int:
    """Print a receipt; return the exit code."""
    if is_json:
        shown = {name: getattr(receipt, name) for name in _FIELDS}
        print_json({"delivery_id": delivery_id, **shown})
    else:
        print(plain(_line(receipt, target)))
    return DONE if receipt.status == "delivered" else FAILED


def _line(receipt: "Receipt | DeliveryInfo", target: str) -> str:
    count = len(receipt.message_ids)
    messages = "1 message" if count == 1 else f"{count} messages"
    line = f"{receipt.status}: {messages} to {target}"
    if receipt.strays:
        line += f", and {receipt.strays} that may remain although others replaced them"
    if receipt.reason:
        line += f"; {receipt.reason}"
    if receipt.status == "failed" and not receipt.may_be_shown:
        line += "; nothing of it is in the chat, so the same command delivers it again"
    return line
