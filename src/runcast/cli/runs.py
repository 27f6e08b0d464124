"""`runcast runs` and `runcast cancel`."""

import argparse
import json
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from runcast.cli.remote import Remote, add_options, plain

__all__ = ("add_to", "cancel", "list_runs")


def add_to(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    listing = commands.add_parser(
        "runs", help="list runs", description="Lists the runs of a server, newest first."
    )
    listing.add_argument("--status", help="only runs with this status")
    listing.add_argument("--function", metavar="NAME", help="only runs of this function")
    listing.add_argument("--limit", type=int, default=20, help="most runs (%(default)s)")
    listing.add_argument("--json", action="store_true", help="print one run a line, as JSON")
    add_options(listing)
    listing.set_defaults(run=list_runs)
    ending = commands.add_parser("cancel", help="cancel a run", description="Cancels a run.")
    ending.add_argument("run_id", metavar="RUN_ID")
    ending.add_argument("--reason", default="cancelled", help="why, for who watches")
    add_options(ending)
    ending.set_defaults(run=cancel)


def list_runs(arguments: argparse.Namespace) -> int:
    """Print runs, one a line. Raises as `Remote.ask` does."""
    given = {"status": arguments.status, "function": arguments.function}
    query = {name: value for name, value in given.items() if value}
    query["limit"] = str(arguments.limit)
    runs = Remote(arguments.url).ask("GET", f"/runs?{urlencode(query)}")["runs"]
    for run in runs:
        if arguments.json:
            print(json.dumps(run, ensure_ascii=False))
            continue
        began = datetime.fromtimestamp(run["created_at"]).astimezone()
        print(
            f"{plain(run['run_id']):36}  {run['status']:9}  {began:%Y-%m-%d %H:%M:%S}  "
            f"{run['events']:>7} events  {plain(run['function'])}"
        )
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel a run. Raises as `Remote.ask` does."""
    query = urlencode({"reason": arguments.reason})
    path = f"/runs/{quote(arguments.run_id, safe='')}/cancel?{query}"
    told = Remote(arguments.url).ask("POST", path)
    print(f"{plain(told['run_id'])} {told['status']}")
    return 0
