"""`runcast watch`, and the function by which every command follows a run to its end."""

import argparse
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runcast._cli.download import Folder
from runcast._cli.exits import ENDINGS, FAILED, LEFT
from runcast._cli.follow import follow
from runcast._cli.remote import Remote, add_options, field_of, sendable
from runcast._cli.show import JsonLines, PlainLines, Screen, is_terminal
from runcast._cli.terminal import Terminal
from runcast._cli.texts import plain
from runcast._cli.tracebacks import report_traceback
from runcast.errors import InvalidValue, PeerError
from runcast.events.position import Position

if TYPE_CHECKING:
    from runcast.events.model import Event

__all__ = ("add_output", "add_to", "make_folder", "run", "watch")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "watch",
        help="watch a run until it ends",
        description="Shows what a run does, from its beginning, until it ends: with bars in a "
        "terminal, as plain lines elsewhere. The exit code tells how it ended. Ctrl-C leaves; the "
        "run goes on.",
    )
    parser.add_argument(
        "run_id", metavar="RUN_ID", type=sendable, help="the run; `runcast runs` lists them"
    )
    parser.add_argument(
        "--after",
        metavar="POSITION",
        default="",
        help="begin after this position instead of at the first event",
    )
    parser.add_argument("--json", action="store_true", help="print one event per line, as JSON")
    add_output(parser)
    add_options(parser)
    parser.set_defaults(run=run)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options for saving a run's files."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="once the run has ended, save the files that it made there, under their paths; each "
        "is compared with its sha256",
    )
    parser.add_argument(
        "--force", action="store_true", help="with --out: replace existing files that differ"
    )


def make_folder(arguments: argparse.Namespace) -> Folder | None:
    """Return the folder for saved files, or None. Raises what `Folder` raises."""
    return None if arguments.out is None else Folder(arguments.out, force=arguments.force)


def run(arguments: argparse.Namespace) -> int:
    """Watch a run. Raises what `watch` raises."""
    if not arguments.run_id:
        raise InvalidValue("expected a run id")
    if arguments.after:
        Position.parse(arguments.after)
    remote = Remote(arguments.url)
    return watch(
        remote,
        arguments.run_id,
        as_json=arguments.json,
        after=arguments.after,
        folder=make_folder(arguments),
    )


def watch(
    remote: Remote,
    run_id: str,
    *,
    as_json: bool,
    after: str = "",
    folder: Folder | None = None,
    is_new: bool = False,
) -> int:
    """Show a run until it ends, and save its files; return the exit code of its ending.

    Ctrl-C leaves, prints how to come back, and returns 130.

    Raises:
        NotFound: the run does not exist.
        PeerError: the server cannot be reached, or not any more.
        InvalidValue: the files cannot be saved.
    """
    path = f"/runs/{quote(run_id, safe='')}"
    shown = shlex.quote(plain(run_id))
    screen = _screen(as_json=as_json, run=f"{remote.option} {shown}".strip())
    again = f"runcast watch {shown}{remote.option}"
    if folder is not None:
        again += f" --out {shlex.quote(str(folder.path))}"
    ending, cursor, files = "", after, None
    last: Event | None = None
    try:
        if is_new and isinstance(screen, Terminal):
            screen.notice(f"run {run_id}")
        try:
            for batch in follow(remote, path, after, lambda error: _show_loss(screen, error)):
                with _undisturbed():
                    for received in batch:
                        screen.show(received)
                        event, cursor = received.event, received.position
                        if event.type == "files" and isinstance(event.data, dict):
                            files = event.data.get("files")
                        if event.type in ENDINGS:
                            ending, last = event.type, event
                    screen.flush()
        finally:
            with _undisturbed():
                screen.close()
        if last is not None and ending == "failed" and not as_json:
            report_traceback(remote, path, run_id, last)
        if not ending:  # it had already ended at the given position
            ending = str(field_of(remote.ask("GET", path), "status"))
        if folder is not None:
            if files is None:
                files = field_of(remote.ask("GET", f"{path}/files"), "files")
            for saved in folder.save(remote, run_id, files):
                print(f"saved {plain(str(saved))}", file=sys.stderr)
    except KeyboardInterrupt:
        hint = (
            f"the run has ended; get its files with: {again}"
            if ending
            else f"the run goes on; come back with: {again}\n"
            f"or end it with: runcast cancel {shown}{remote.option}"
        )
        over = "\r" if sys.stderr.isatty() else ""  # overwrite the ^C that the terminal shows
        print(f"{over}{hint}", file=sys.stderr)
        return LEFT
    except PeerError as error:
        if cursor == after:
            raise
        where = f" --after {cursor}" if not ending else ""
        raise PeerError(f"{error.message}; continue with: {again}{where}") from error
    return ENDINGS.get(ending, FAILED)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay Ctrl-C until the screen matches our record again."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _screen(*, as_json: bool, run: str) -> Screen:
    """Return the screen for events; `run` is the run's id for the commands in hints."""
    if as_json:
        return JsonLines(sys.stdout)
    return (Terminal if is_terminal(sys.stdout) else PlainLines)(sys.stdout, run)


def _show_loss(screen: Screen, error: PeerError) -> None:
    screen.notice(f"{plain(error.message)}; trying again")
