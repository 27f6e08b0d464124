"""`runcast watch`, and the function by which every command follows a run to its end."""

import argparse
import asyncio
import shlex
import sys
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from runcast._cli.answer import user_name
from runcast._cli.download import Folder
from runcast._cli.exits import ENDINGS, FAILED, LEFT
from runcast._cli.formatting import HelpFormatter
from runcast._cli.keyboard import is_foreground
from runcast._cli.labels import add_label
from runcast._cli.reaching import add_options, open_async_client, option_of, sendable
from runcast._cli.session import Session
from runcast._cli.show import JsonLines, PlainLines, Screen, is_terminal
from runcast._cli.terminal import Terminal
from runcast._cli.texts import plain
from runcast._cli.tracebacks import report_traceback
from runcast.errors import InvalidValue, PeerError, RuncastError, ServerUnavailable
from runcast.events.position import Position

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from runcast.client.asynchronous import AsyncClient
    from runcast.client.watching import Cut, Received
    from runcast.events.model import Event

__all__ = ("add_output", "add_to", "make_folder", "run", "watch")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "watch",
        help="watch a run until it ends, or a thread",
        description="Shows what a run does, from its beginning, until it ends: with bars in a "
        "terminal, as plain lines elsewhere. The exit code tells how it ended. In a terminal "
        "questions are answered at a prompt, and a line that you type is sent to the run as a "
        "message. Ctrl-C leaves, and the run goes on; a second Ctrl-C asks whether to cancel it. "
        "--thread shows all runs of a thread instead, also those that begin later, until Ctrl-C: "
        "as lines that begin with the run.",
        epilog="examples:\n  runcast watch report-7\n"
        "  runcast watch --thread chat-1 --label user=ada",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "run_id",
        metavar="RUN_ID",
        nargs="?",
        type=sendable,
        help="the run; `runcast runs` lists them",
    )
    parser.add_argument(
        "--thread",
        metavar="NAME",
        type=sendable,
        help="instead of RUN_ID: all runs with the label thread=NAME",
    )
    add_label(parser, "with --thread: only runs that have this label, too")
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
    """Watch a run or a thread. Raises what `watch` and `watch_thread` raise."""
    if (arguments.run_id is None) == (arguments.thread is None):
        raise InvalidValue("expected either a RUN_ID or --thread NAME")
    if arguments.thread is not None:
        if arguments.after or arguments.out is not None or arguments.force:
            raise InvalidValue("expected a RUN_ID with --after, --out and --force, got --thread")
        from runcast._cli.watch_thread import watch_thread

        return asyncio.run(watch_thread(arguments))
    if arguments.label:
        raise InvalidValue("expected --thread NAME with --label, got a RUN_ID")
    if arguments.after:
        Position.parse(arguments.after)
    folder = make_folder(arguments)

    async def watching() -> int:
        async with open_async_client(arguments) as client:
            return await watch(client, arguments.run_id, arguments, folder, arguments.after)

    return asyncio.run(watching())


async def watch(
    client: "AsyncClient",
    run_id: str,
    arguments: argparse.Namespace,
    folder: Folder | None = None,
    after: str = "",
    *,
    is_new: bool = False,
) -> int:
    """Show a run until it ends, and save its files; return the exit code of its ending.

    Ctrl-C leaves, prints how to come back, and returns 130.

    Raises:
        NotFound: the run does not exist.
        PeerError, ServerUnavailable: the server cannot be reached, or not any more.
        InvalidValue: the files cannot be saved.
    """
    shown, option = shlex.quote(plain(run_id)), option_of(arguments)
    is_interactive = not arguments.json and _is_interactive_terminal()
    screen = _screen(
        as_json=arguments.json,
        run=f"{option} {shown}".strip(),
        is_answered_here=is_interactive,
    )
    again = f"runcast watch {shown}{option}"
    if folder is not None:
        again += f" --out {shlex.quote(str(folder.path))}"
    seen = _Seen(after)
    async with AsyncExitStack() as stack:
        session: Session | None = None
        if isinstance(screen, Terminal):
            if is_new:
                screen.notice(f"run {run_id}")
            if is_interactive:
                session = Session(client, run_id, screen, user_name())
                await stack.enter_async_context(session)
        try:
            try:
                pages = client.watch_pages(run_id, after, on_cut=_losses(screen))
                async with aclosing(pages):
                    await _show(pages, screen, session, seen)
            finally:
                screen.close()
            await _finish(client, run_id, arguments, folder, seen)
        except asyncio.CancelledError:
            _say_how_to_come_back(seen.ending, again, f"runcast cancel {shown}{option}", session)
            return LEFT if session is None or seen.ending else await session.leave()
        except (PeerError, ServerUnavailable) as error:
            if seen.cursor == after:
                raise
            where = f" --after {seen.cursor}" if not seen.ending else ""
            raise ServerUnavailable(f"{error.message}; continue with: {again}{where}") from error
    return ENDINGS.get(seen.ending, FAILED)


class _Seen:
    """What was shown of a run so far."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.ending = ""
        self.last: Event | None = None
        self.files: Any = None

    def take(self, received: "Received") -> None:
        event, self.cursor = received.event, received.position
        if event.type == "files" and isinstance(event.data, dict):
            self.files = event.data.get("files")
        if event.type in ENDINGS:
            self.ending, self.last = event.type, event


async def _show(
    pages: "AsyncGenerator[list[Received], None]",
    screen: Screen,
    session: "Session | None",
    seen: _Seen,
) -> None:
    """Show events as they come."""
    async for page in pages:
        if session is not None:
            await session.is_free.wait()
        for received in page:
            screen.show(received)
            seen.take(received)
        if session is not None:
            for received in page:
                session.see(received.event)
        screen.flush()


async def _finish(
    client: "AsyncClient",
    run_id: str,
    arguments: argparse.Namespace,
    folder: Folder | None,
    seen: _Seen,
) -> None:
    """Report a traceback, and save the run's files."""
    if seen.last is not None and seen.ending == "failed" and not arguments.json:
        await report_traceback(client, run_id, seen.last)
    if not seen.ending:  # it had already ended at the given position
        seen.ending = (await client.info(run_id)).status
    if folder is not None:
        if seen.files is None:
            seen.files = msgspec.to_builtins(await client.files(run_id))
        for saved in await folder.save(client, run_id, seen.files):
            print(f"saved {plain(str(saved))}", file=sys.stderr)


def _say_how_to_come_back(
    ending: str, again: str, cancelling: str, session: "Session | None"
) -> None:
    at_once = " (or press Ctrl-C again)" if session is not None else ""
    hint = (
        f"the run has ended; get its files with: {again}"
        if ending
        else f"the run goes on; come back with: {again}\nor end it with: {cancelling}{at_once}"
    )
    over = "\r" if sys.stderr.isatty() else ""  # overwrite the ^C that the terminal shows
    print(f"{over}{hint}", file=sys.stderr)


def _is_interactive_terminal() -> bool:
    """Return whether a person can type here while output is drawn: both ends are a terminal, whose
    foreground is this process."""
    try:
        descriptor = sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or something else
        return False
    return is_foreground(descriptor) and is_terminal(sys.stdout)


def _losses(screen: Screen) -> "Cut":
    """Return what to do about lost connections: report the first one, give up without any."""

    def lost(error: RuncastError, failures: int, was_open: bool) -> None:
        if not was_open:
            raise error
        if failures == 1:
            screen.notice(f"{plain(error.message)}; trying again")

    return lost


def _screen(*, as_json: bool, run: str, is_answered_here: bool) -> Screen:
    """Return the screen for events; `run` is the run's id for the commands in hints."""
    if as_json:
        return JsonLines(sys.stdout)
    if is_terminal(sys.stdout):
        return Terminal(sys.stdout, run, is_answered_here=is_answered_here)
    return PlainLines(sys.stdout, run)
