"""`runcast deliver`: delivers a run to a chat."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from runcast._cli.exits import DONE, FAILED
from runcast._cli.reaching import add_options, open_client, open_store, sendable
from runcast._cli.show import print_json
from runcast._cli.texts import plain

if TYPE_CHECKING:
    from runcast.channels.engine import Receipt

__all__ = ("add_to", "run")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "deliver",
        help="deliver a run to a chat",
        description="Delivers a run to a chat. With --store, this command delivers it until its "
        "end, and prints the receipt. Else the server begins the delivery and goes on alone.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    parser.add_argument(
        "target",
        metavar="TARGET",
        type=sendable,
        help="a name of the channels file, like telegram:ops; with --store also an address, whose "
        "token other users of this machine can read",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Deliver a run. Raises what `Client.deliver` and `Hub.deliver` raise."""
    if not arguments.store:
        with open_client(arguments) as client:
            delivery_id = client.deliver(arguments.run_id, arguments.target)
        if arguments.json:
            print_json({"delivery_id": delivery_id, "status": "begun"})
        else:
            print(plain(f"the server delivers {arguments.run_id} to {arguments.target}"))
        return DONE
    with open_store(arguments.store) as hub:
        delivery = hub.deliver(arguments.run_id, arguments.target)
        receipt = delivery.wait()
    if receipt is None:
        print("another process goes on with the delivery", file=sys.stderr)
        return FAILED
    if arguments.json:
        shown = {name: getattr(receipt, name) for name in receipt.__struct_fields__}
        print_json({"delivery_id": delivery.delivery_id, **shown})
    else:
        print(plain(_line(receipt, delivery.target)))
    return DONE if receipt.status == "delivered" else FAILED


def _line(receipt: "Receipt", target: str) -> str:
    count = len(receipt.message_ids)
    messages = "1 message" if count == 1 else f"{count} messages"
    line = f"{receipt.status}: {messages} to {target}"
    if receipt.strays:
        line += f", and {receipt.strays} that may remain although others replaced them"
    return f"{line}; {receipt.reason}" if receipt.reason else line
