"""`runcast share`, `runcast links` and `runcast unshare`: links that show a run to others."""

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runcast._cli.inspect import moment
from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.show import print_json
from runcast._cli.texts import plain, table

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "list_links", "share", "unshare")

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_to(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    making = commands.add_parser(
        "share",
        help="make a link that shows a run to anyone who has it",
        description="Makes a link that shows a run to anyone who has it, until it expires. The "
        "link is printed once, and nobody can show it again.",
    )
    making.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    making.add_argument(
        "--expires",
        metavar="TIME",
        type=_duration,
        help="how long the link lasts, like 30m, 12h or 7d (7d)",
    )
    making.add_argument("--files", action="store_true", help="show the run's files, too")
    making.add_argument("--json", action="store_true", help="print JSON")
    add_options(making)
    making.set_defaults(run=with_client(share))

    listing = commands.add_parser(
        "links", help="list the links to a run", description="Lists the links to a run."
    )
    listing.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    listing.add_argument("--json", action="store_true", help="print a line of JSON for each link")
    add_options(listing)
    listing.set_defaults(run=with_client(list_links))

    revoking = commands.add_parser(
        "unshare", help="revoke a link", description="Revokes a link, and ends what it shows."
    )
    revoking.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    revoking.add_argument("link_id", metavar="LINK_ID", type=sendable, help="the link")
    add_options(revoking)
    revoking.set_defaults(run=with_client(unshare))


def _duration(text: str) -> float:
    """Return seconds from a text like `7d`; argparse refuses any other."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if found is None or not int(found[1]):
        raise argparse.ArgumentTypeError(f"expected a time like 30m, 12h or 7d, got {text!r}")
    return float(int(found[1]) * _UNITS[found[2] or "s"])


def share(client: "Client", arguments: argparse.Namespace) -> int:
    """Make a link and print it. Raises what `Client.share` raises."""
    link = client.share(arguments.run_id, expires_s=arguments.expires, files=arguments.files)
    if arguments.json:
        print_json(msgspec.to_builtins(link))
    elif getattr(arguments, "store", ""):
        path = link.url.partition("#")[2]
        print(plain(f"#{path}"))
        print("  put the address of a server of this store in front", file=sys.stderr)
    else:
        print(plain(link.url))
    return 0


def list_links(client: "Client", arguments: argparse.Namespace) -> int:
    """Print the links of a run. Raises what `Client.links` raises."""
    links = client.links(arguments.run_id)
    if arguments.json:
        for link in links:
            print_json(msgspec.to_builtins(link))
        return 0
    rows = [
        (link.link_id, moment(link.expires_at), "yes" if link.files else "no", plain(link.by))
        for link in links
    ]
    if rows:
        print(table(("LINK", "EXPIRES", "FILES", "BY"), rows, sys.stdout))
    else:
        print(f"no links to {plain(arguments.run_id)}")
    return 0


def unshare(client: "Client", arguments: argparse.Namespace) -> int:
    """Revoke a link. Raises what `Client.unshare` raises."""
    client.unshare(arguments.run_id, arguments.link_id)
    print(plain(f"{arguments.link_id} is revoked"))
    return 0
