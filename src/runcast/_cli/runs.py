"""`runcast runs`, `runcast cancel` and `runcast rm`."""

import argparse
import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runcast._cli.board import Board, print_change
from runcast._cli.exits import DONE, LEFT, WRONG_USE
from runcast._cli.formatting import HelpFormatter
from runcast._cli.inspect import moment
from runcast._cli.labels import add_label, labels_of
from runcast._cli.reaching import (
    add_options,
    open_async_client,
    open_client,
    sendable,
    with_client,
)
from runcast._cli.show import is_terminal, print_json
from runcast._cli.texts import plain, readable_s, table
from runcast.client.model import RunInfo
from runcast.errors import (
    PeerError,
    RuncastError,
    ServerUnavailable,
    Unauthorized,
)
from runcast.events.lifecycle import STATUSES
from runcast.events.vocabulary import TERMINAL

if TYPE_CHECKING:
    from runcast.client.threads import Client
    from runcast.client.watching import Cut

__all__ = ("add_to", "cancel", "list_runs", "remove")


def add_to(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    listing = commands.add_parser(
        "runs",
        help="list runs",
        description="Lists the runs of a server, newest first.",
        epilog="examples:\n  runcast runs --status waiting\n"
        "  runcast runs --function report --limit 100 --json\n"
        "  runcast runs --watch --label user=ada",
        formatter_class=HelpFormatter,
    )
    listing.add_argument(
        "--status", type=sendable, help=f"only runs with this status: {', '.join(STATUSES)}"
    )
    listing.add_argument(
        "--function", metavar="NAME", type=sendable, help="only runs of this function"
    )
    add_label(listing)
    listing.add_argument("--limit", type=int, default=20, help="most runs (%(default)s)")
    listing.add_argument(
        "--watch",
        action="store_true",
        help="stay, and show each run that begins, changes or is deleted, until Ctrl-C: as a list "
        "in a terminal, as a line for each change elsewhere",
    )
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
    ending.set_defaults(run=with_client(cancel))
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
    removing.set_defaults(run=with_client(remove))


def list_runs(arguments: argparse.Namespace) -> int:
    """Print runs, one per line, or show them as they change. Raises what `Client.runs` raises."""
    if arguments.watch:
        return asyncio.run(_watch_runs(arguments))
    with open_client(arguments) as client:
        found = client.runs(**_selection(arguments), limit=arguments.limit)
    if arguments.json:
        for run in found:
            print_json(msgspec.to_builtins(run))
    elif found:
        print(table(_HEADER, [_row(run) for run in found], sys.stdout))
    else:
        print("no runs", file=sys.stderr)
    return 0


async def _watch_runs(arguments: argparse.Namespace) -> int:
    """Show runs as they change, until Ctrl-C."""

    def belongs(run: RunInfo) -> bool:
        return arguments.status in (None, run.status)

    selection = _selection(arguments)
    board = None
    if is_terminal(sys.stdout) and not arguments.json:
        board = Board(sys.stdout, _HEADER, _row, belongs, arguments.limit)
    try:
        async with open_async_client(arguments) as client:
            # What is malformed is refused here, and a server that is not there is named at once.
            await client.runs(**selection, limit=arguments.limit)
            if board is not None:
                board.draw()
            feed = client.feed(**selection, on_cut=_losses(board))
            async with aclosing(feed) as changes:
                async for change in changes:
                    if board is None:
                        if change.run is None or belongs(change.run):
                            print_change(change, _row, as_json=arguments.json)
                        continue
                    board.take(change)
                    board.draw()
    except asyncio.CancelledError:
        return LEFT
    finally:
        if board is not None:
            board.close()
    return DONE


def _losses(board: Board | None) -> "Cut":
    """Return what to do about lost connections: report the first one."""

    def lost(error: RuncastError, failures: int, was_open: bool) -> None:
        if failures == 1:
            text = f"{plain(error.message)}; trying again"
            if board is None:
                print(text, file=sys.stderr)
            else:
                board.note(text)

    return lost


def _selection(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "status": arguments.status,
        "function": arguments.function or "",
        "labels": labels_of(arguments.label),
    }


_HEADER: Final = ("RUN", "STATUS", "BEGAN", "TOOK", "EVENTS", "FUNCTION")


def _row(run: RunInfo) -> tuple[str, ...]:
    took = "" if run.ended_at is None else readable_s(run.ended_at - run.created_at)
    began, events = moment(run.created_at), str(run.events)
    return plain(run.run_id), run.status, began, took, events, plain(run.function)


def cancel(client: "Client", arguments: argparse.Namespace) -> int:
    """Cancel a run. Raises what `Client.cancel` raises."""
    run = client.cancel(arguments.run_id, arguments.reason)
    if arguments.json:
        print_json(msgspec.to_builtins(run))
    elif run.status in TERMINAL:
        print(f"{plain(run.run_id)} {run.status}")
    else:
        print(f"{plain(run.run_id)} is asked to end; now it is {run.status}")
    return 0


def remove(client: "Client", arguments: argparse.Namespace) -> int:
    """Delete runs. A run that cannot be deleted is reported; the others are still deleted.

    Raises:
        PeerError, ServerUnavailable: the server cannot be reached.
    """
    code = DONE
    for run_id in arguments.run_ids:
        try:
            client.delete(run_id)
        except (PeerError, ServerUnavailable, Unauthorized):
            raise
        except RuncastError as error:
            code = WRONG_USE
            which = "" if run_id in error.message else f"{plain(run_id)}: "
            print(f"runcast: {which}{plain(error.message)}", file=sys.stderr)
        else:
            print(plain(run_id))
    return code
