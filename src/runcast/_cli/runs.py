"""`runcast runs`, `runcast cancel` and `runcast rm`."""

import argparse
import sys
from typing import Any, Final
from urllib.parse import quote, urlencode

from runcast._cli.exits import DONE, WRONG_USE
from runcast._cli.formatting import HelpFormatter
from runcast._cli.inspect import moment
from runcast._cli.remote import Remote, add_options, field_of, sendable
from runcast._cli.show import print_json
from runcast._cli.texts import plain, readable_s, table
from runcast.errors import PeerError, RuncastError
from runcast.events.lifecycle import STATUSES
from runcast.events.vocabulary import TERMINAL, as_number

__all__ = ("add_to", "cancel", "list_runs", "remove")


def add_to(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    listing = commands.add_parser(
        "runs",
        help="list runs",
        description="Lists the runs of a server, newest first.",
        epilog="examples:\n  runcast runs --status waiting\n"
        "  runcast runs --function report --limit 100 --json",
        formatter_class=HelpFormatter,
    )
    listing.add_argument(
        "--status", type=sendable, help=f"only runs with this status: {', '.join(STATUSES)}"
    )
    listing.add_argument(
        "--function", metavar="NAME", type=sendable, help="only runs of this function"
    )
    listing.add_argument(
        "--label",
        metavar="NAME=VALUE",
        action="append",
        type=sendable,
        default=[],
        help="only runs with this label; repeatable",
    )
    listing.add_argument("--limit", type=int, default=20, help="most runs (%(default)s)")
    listing.add_argument("--json", action="store_true", help="print one run per line, as JSON")
    add_options(listing)
    listing.set_defaults(run=list_runs)
    ending = commands.add_parser(
        "cancel",
        help="cancel a run",
        description="Cancels a run. Waits for its end if the server itself runs it.",
        epilog='example:\n  runcast cancel RUN_ID --reason "wrong file"',
        formatter_class=HelpFormatter,
    )
    ending.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    ending.add_argument(
        "--reason", type=sendable, default="cancelled", help="why, shown to watchers"
    )
    ending.add_argument("--json", action="store_true", help="print the run as JSON")
    add_options(ending)
    ending.set_defaults(run=cancel)
    removing = commands.add_parser(
        "rm",
        help="delete runs",
        description="Deletes runs with their events and files. A run that is at work is cancelled "
        "first. If another process has to end it, the exit code is 2; repeat the command when the "
        "run has ended.",
        epilog="examples:\n  runcast rm RUN_ID\n"
        "  runcast runs --status failed --json | jq -r .run_id | xargs runcast rm",
        formatter_class=HelpFormatter,
    )
    removing.add_argument("run_ids", metavar="RUN_ID", nargs="+", type=sendable, help="the runs")
    add_options(removing)
    removing.set_defaults(run=remove)


def list_runs(arguments: argparse.Namespace) -> int:
    """Print runs, one per line. Raises what `Remote.ask` raises."""
    given = {"status": arguments.status, "function": arguments.function}
    query = {name: value for name, value in given.items() if value}
    query["limit"] = str(arguments.limit)
    labels = [("label", label) for label in arguments.label]
    reply = Remote(arguments.url).ask("GET", f"/runs?{urlencode([*query.items(), *labels])}")
    runs = field_of(reply, "runs")
    if arguments.json:
        for run in runs:
            print_json(run)
    elif runs:
        print(table(_HEADER, [_row(run) for run in runs], sys.stdout))
    else:
        print("no runs", file=sys.stderr)
    return 0


_HEADER: Final = ("RUN", "STATUS", "BEGAN", "TOOK", "EVENTS", "FUNCTION")


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    began, ended = as_number(run.get("created_at")), as_number(run.get("ended_at"))
    took = readable_s(ended - began) if began is not None and ended is not None else ""
    events = str(as_number(run.get("events")) or 0)
    run_id, status = plain(str(run.get("run_id"))), plain(str(run.get("status")))
    return run_id, status, moment(began), took, events, plain(str(run.get("function")))


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel a run. Raises what `Remote.ask` raises."""
    query = urlencode({"reason": arguments.reason})
    path = f"/runs/{quote(arguments.run_id, safe='')}/cancel?{query}"
    reply = Remote(arguments.url).ask("POST", path)
    if arguments.json:
        print_json(reply)
    else:
        run_id, status = (plain(str(field_of(reply, name))) for name in ("run_id", "status"))
        is_over = status in TERMINAL
        print(f"{run_id} {status}" if is_over else f"{run_id} is asked to end; now it is {status}")
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Delete runs. A run that cannot be deleted is reported; the others are still deleted.

    Raises:
        PeerError: the server cannot be reached.
    """
    remote = Remote(arguments.url)
    code = DONE
    for run_id in arguments.run_ids:
        try:
            remote.ask("DELETE", f"/runs/{quote(run_id, safe='')}")
        except PeerError:
            raise
        except RuncastError as error:
            code = WRONG_USE
            which = "" if run_id in error.message else f"{plain(run_id)}: "
            print(f"runcast: {which}{error.message}", file=sys.stderr)
        else:
            print(plain(run_id))
    return code
