"""`runcast watch --thread`: all runs of a thread, as lines that begin with the run."""

import argparse
import asyncio
import io
import shlex
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from runcast._cli.exits import DONE, LEFT
from runcast._cli.labels import labels_of
from runcast._cli.reaching import open_async_client, option_of
from runcast._cli.show import PlainLines, print_json
from runcast._cli.texts import plain
from runcast.client.watching import Received
from runcast.errors import InvalidValue, RuncastError
from runcast.events.model import encode_event
from runcast.events.vocabulary import TERMINAL

if TYPE_CHECKING:
    from runcast.events.thread import ThreadEvent

__all__ = ("ThreadLines", "as_json", "watch_thread")


async def watch_thread(arguments: argparse.Namespace) -> int:
    """Show the runs of a thread as they happen, until Ctrl-C; return the exit code.

    Raises:
        InvalidValue: other options do not go with a thread.
        ServerUnavailable, Unauthorized: the server cannot be reached.
    """
    thread, labels = arguments.thread, labels_of(arguments.label)
    if labels.get("thread", thread) != thread:
        raise InvalidValue("expected one thread, got another one with --label")
    option = option_of(arguments)
    lines = None if arguments.json else ThreadLines(sys.stdout, option)
    try:
        async with open_async_client(arguments) as client:
            # What is malformed is refused here, and a server that is not there is named at once.
            if not await client.runs(labels={**labels, "thread": thread}, limit=1):
                print("no runs yet; waiting for the first one", file=sys.stderr)
            watched = client.watch_thread(thread, labels=labels, on_cut=_report)
            async with aclosing(watched) as events:
                async for event in events:
                    if lines is None:
                        print_json(as_json(event))
                    else:
                        lines.show(event)
                    sys.stdout.flush()
    except asyncio.CancelledError:
        if lines is not None:
            lines.close()
        more = "".join(f" --label {shlex.quote(plain(pair))}" for pair in arguments.label)
        again = f"runcast watch --thread {shlex.quote(plain(thread))}{more}{option}"
        over = "\r" if sys.stderr.isatty() else ""  # overwrite the ^C that the terminal shows
        print(f"{over}the runs go on; come back with: {again}", file=sys.stderr)
        return LEFT
    return DONE


def _report(error: RuncastError, failures: int, was_open: bool) -> None:
    if failures == 1:
        print(f"{plain(error.message)}; trying again", file=sys.stderr)


def as_json(event: "ThreadEvent") -> dict[str, Any]:
    """Return an event or a notice in the form of the protocol (R-7)."""
    if event.event is not None:
        return {"run": event.run_id, "event": msgspec.json.decode(encode_event(event.event))}
    if event.notice == "gap":
        return {"gap": {"reason": event.reason}}
    return {event.notice: event.run_id or True}


class ThreadLines:
    """The events of several runs as lines: `report-7 | progress 1/3`.

    A text comes line by line, so that texts of several runs do not mix.
    """

    def __init__(self, out: TextIO, option: str = "") -> None:
        self._out = out
        self._option = option
        self._runs: dict[str, PlainLines] = {}
        """Those that have not ended."""

    def show(self, event: "ThreadEvent") -> None:
        """Print an event or a notice."""
        run_id = event.run_id
        if event.event is not None:
            lines = self._runs.get(run_id)
            if lines is None:
                run = f"{self._option} {shlex.quote(plain(run_id))}".strip()
                lines = self._runs[run_id] = PlainLines(_Prefixed(self._out, run_id), run)
            lines.show(Received(event.event, encode_event(event.event).decode(), event.position))
            if event.event.type in TERMINAL:
                self._end(run_id)
            return
        match event.notice:
            case "deleted":
                self._say(run_id, "deleted")
            case "left":
                self._say(run_id, "does not belong to the thread any more")
            case "left_out":
                self._say(run_id, "not shown, because too many runs are open")
            case "earlier":
                print("the thread has older runs, which are not shown", file=sys.stderr)
            case "gap":
                self.close()
                reason = plain(event.reason)
                print(f"runs may be missing here ({reason}); all follow again", file=sys.stderr)

    def close(self) -> None:
        """Print what is left of unfinished lines."""
        for run_id in [*self._runs]:
            self._end(run_id)
        self._out.flush()

    def _end(self, run_id: str) -> None:
        if (lines := self._runs.pop(run_id, None)) is not None:
            lines.close()

    def _say(self, run_id: str, text: str) -> None:
        self._end(run_id)
        print(f"{plain(run_id)} | {text}", file=self._out)


class _Prefixed(io.StringIO):
    """Writes whole lines, each behind its run."""

    def __init__(self, out: TextIO, run_id: str) -> None:
        super().__init__()
        self._out = out
        self._head = f"{plain(run_id)} | "
        self._rest: list[str] = []

    def write(self, text: str) -> int:
        *lines, rest = text.split("\n")
        for line in lines:
            self._out.write(f"{self._head}{''.join(self._rest)}{line}\n")
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        return len(text)

    def flush(self) -> None:
        self._out.flush()
