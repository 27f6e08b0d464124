"""`runcast runs` and `runcast cancel`."""

import argparse
import sys
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from runcast._cli.remote import Remote, add_options, field_of, sendable
from runcast._cli.show import print_json
from runcast._cli.texts import plain, readable_s
from runcast.events.fields import as_number
from runcast.events.lifecycle import STATUSES

__all__ = ("add_to", "cancel", "list_runs")


def add_to(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    listing = commands.add_parser(
        "runs", help="list runs", description="Lists the runs of a server, newest first."
    )
    listing.add_argument(
        "--status", type=sendable, help=f"only runs with this status: {', '.join(STATUSES)}"
    )
    listing.add_argument(
        "--function", metavar="NAME", type=sendable, help="only runs of this function"
    )
    listing.add_argument("--limit", type=int, default=20, help="most runs (%(default)s)")
    listing.add_argument("--json", action="store_true", help="print one run a line, as JSON")
    add_options(listing)
    listing.set_defaults(run=list_runs)
    ending = commands.add_parser("cancel", help="cancel a run", description="Cancels a run.")
    ending.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    ending.add_argument("--reason", type=sendable, default="cancelled", help="why, for who watches")
    ending.add_argument("--json", action="store_true", help="print what became of it, as JSON")
    add_options(ending)
    ending.set_defaults(run=cancel)


def list_runs(arguments: argparse.Namespace) -> int:
    """Print runs, one a line. Raises as `Remote.ask` does."""
    given = {"status": arguments.status, "function": arguments.function}
    query = {name: value for name, value in given.items() if value}
    query["limit"] = str(arguments.limit)
    told = Remote(arguments.url).ask("GET", f"/runs?{urlencode(query)}")
    runs = field_of(told, "runs")
    for run in runs:
        if arguments.json:
            print_json(run)
        else:
            print(_line(run))
    if not runs and not arguments.json:
        print("no runs", file=sys.stderr)
    return 0


def _line(run: dict[str, Any]) -> str:
    began = as_number(run.get("created_at")) or 0
    ended = as_number(run.get("ended_at"))
    try:
        at = f"{datetime.fromtimestamp(began).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        at = "?" * 19
    took = readable_s(ended - began) if ended is not None else ""
    run_id, status = plain(str(run.get("run_id"))), plain(str(run.get("status")))
    name, events = plain(str(run.get("function"))), as_number(run.get("events")) or 0
    return f"{run_id:36}  {status:9}  {at}  {took:>8}  {events:>7} events  {name}"


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel a run. Raises as `Remote.ask` does."""
    query = urlencode({"reason": arguments.reason})
    path = f"/runs/{quote(arguments.run_id, safe='')}/cancel?{query}"
    told = Remote(arguments.url).ask("POST", path)
    if arguments.json:
        print_json(told)
    else:
        print(f"{plain(str(field_of(told, 'run_id')))} {plain(str(field_of(told, 'status')))}")
    return 0
