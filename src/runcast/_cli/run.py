"""`runcast run`: an unmodified script, and everything that it prints, logs and asks, as a run."""

import argparse
import os
import re
import resource
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

from runcast._app.script import STORE_VARIABLE, ScriptHub
from runcast._cli.formatting import HelpFormatter
from runcast._cli.reaching import path_of, sendable
from runcast._cli.serve import DEFAULT_STORE, make_folder
from runcast._clock import Clock, SystemClock
from runcast._hub.bridge import Bridge
from runcast._producing.answers import Answer
from runcast._producing.decisions import answer_question
from runcast._producing.writer import Writer
from runcast._runs.owned_run import BlockInThread, OwnedRun
from runcast._scripts.owner import ScriptCall, ScriptProcess
from runcast._settings import Settings
from runcast.errors import Cancelled, InvalidValue, RunFailed, ServerUnavailable
from runcast.stores import open_url

if TYPE_CHECKING:
    from runcast._remote.writer import RemoteWriter

__all__ = ("add_to", "run")

_MAX_NAME_CHARS: Final = 100


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "run",
        help="run a script and record what it does",
        description="Runs an unchanged Python script as a run. Watchers see what it prints and "
        "logs, its bars, and its questions. Its output, its exit code and what Ctrl-C does stay "
        "the same.",
        usage="runcast run [options] (SCRIPT | -m MODULE) [ARGUMENT ...]",
        epilog="examples:\n  runcast run train.py --epochs 3\n  runcast run -m package.tool\n"
        "  runcast run --label user=ada --store sqlite:///runs.db import.py\n"
        "  runcast run --url http://127.0.0.1:8000 import.py",
        formatter_class=HelpFormatter,
    )
    kept = parser.add_mutually_exclusive_group()
    kept.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get(STORE_VARIABLE) or DEFAULT_STORE,
        help=f"where the run is kept; {STORE_VARIABLE} by default, else {DEFAULT_STORE}",
    )
    kept.add_argument(
        "--url",
        metavar="URL",
        type=sendable,
        help="a running server that keeps the run instead; an access token is taken from "
        "RUNCAST_TOKEN",
    )
    parser.add_argument("--run-id", metavar="ID", default="", help="the run's id; else a new one")
    parser.add_argument(
        "--label",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a label of the run; repeatable",
    )
    parser.add_argument("--quiet", action="store_true", help="do not say where to watch the run")
    parser.add_argument(
        "-m", dest="is_module", action="store_true", help="run a module, as `python -m` does"
    )
    parser.add_argument("script", metavar="SCRIPT", help="the script, or with -m the module")
    given = parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="its arguments"
    )
    given.required = False  # else the error for a missing script names it, too, until Python 3.13
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the script and end as it ends.

    Raises:
        InvalidValue, Conflict, BackendError: the script cannot be found or the run cannot begin.
        ServerUnavailable, Unauthorized, Forbidden: the server does not begin the run.
    """
    labels = _labels_of(arguments.label)
    if not arguments.is_module and not os.path.exists(arguments.script):
        raise InvalidValue(f"there is no file {arguments.script!r}")
    settings, clock = Settings.load(), SystemClock()
    options = {"run_id": arguments.run_id, "labels": labels}
    code, script = 0, None
    try:
        with ExitStack() as closing:
            begin = _begin_in_store if arguments.url is None else _begin_on_server
            owned, answer = begin(arguments, closing, settings, clock, options)
            call = ScriptCall(arguments.script, arguments.arguments, arguments.is_module)
            script = ScriptProcess(owned, call, settings, clock, answer)
            code = script.run_to_end()
            _raise_ending(code, script)
    except (RunFailed, Cancelled):
        pass  # which the log says
    except ServerUnavailable:
        if script is None:
            raise
        # The script has done its work: its exit code stays.
    if code < 0:
        _end_by(-code)
    return code


_Answer = Callable[[str, object], None]
"""Answers a question of the run: its id, and the answer."""


def _begin_in_store(
    arguments: argparse.Namespace,
    closing: ExitStack,
    settings: Settings,
    clock: Clock,
    options: dict[str, Any],
) -> tuple[Writer, _Answer]:
    """Begin a run in a store that this process opens."""
    make_folder(arguments.store)
    store = open_url(arguments.store, settings, clock)
    hub, bridge = ScriptHub(store, settings, clock), Bridge()
    bridge.open()
    closing.callback(bridge.close)
    closing.callback(lambda: bridge.call(hub.close()))
    bridge.call(hub.open())
    name = _name_of(arguments.script)
    begin = partial(OwnedRun._begin, hub.hub, name, **options, replace=False)
    block = BlockInThread(bridge, begin)
    owned = closing.enter_context(block)
    if not arguments.quiet:
        _say_where(owned, arguments.store)

    def answer(interrupt_id: str, given: object) -> None:
        said = Answer.parse(given)
        bridge.call(answer_question(hub.hub, owned.run_id, interrupt_id, said))

    return owned, answer


def _begin_on_server(
    arguments: argparse.Namespace,
    closing: ExitStack,
    settings: Settings,
    clock: Clock,
    options: dict[str, Any],
) -> tuple[Writer, _Answer]:
    """Begin a run on a server that is running."""
    # Imported late: every other command starts faster without an HTTP client.
    from runcast._remote.run import RemoteRun

    name = _name_of(arguments.script)
    remote = RemoteRun(arguments.url, name, settings=settings, clock=clock, **options)
    begun: list[RemoteWriter] = []
    closing.callback(_say_what_is_missing, begun)  # after the end
    owned = closing.enter_context(remote)
    begun.append(owned)
    if not arguments.quiet:
        where = f"{owned.url}/#/runs/{owned.run_id}"
        print(f"runcast: run {owned.run_id}: {where}", file=sys.stderr, flush=True)
    return owned, owned.answer


def _say_what_is_missing(begun: "list[RemoteWriter]") -> None:
    for run in begun:
        missing = run.statistics().waiting
        if missing:
            said = f"{missing} events of run {run.run_id} could not be stored by {run.url}"
            print(f"runcast: {said}", file=sys.stderr, flush=True)


def _raise_ending(code: int, script: ScriptProcess) -> None:
    """Raise what ends the run as the script has ended."""
    if script.reason is not None:
        raise Cancelled(script.reason)
    number = -code if code < 0 else code - 128
    if number in script.signals:
        name = signal.Signals(number).name
        raise Cancelled("interrupted" if number == signal.SIGINT else f"ended by {name}")
    if code < 0:
        raise RunFailed(f"the script was killed by {_signal_name(-code)}", "killed")
    if code:
        raise RunFailed(f"the script exited with code {code}", "exit_code")


def _end_by(number: int) -> NoReturn:
    """End as the script did, so that the process that started us sees the same."""
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # a signal that does not end


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _say_where(run: OwnedRun, store: str) -> None:
    kept = path_of(store)
    where = f"in {kept}" if kept else "in memory, which no other process can watch"
    lines = [f"runcast: run {run.run_id} {where}"]
    if kept:
        # Absolute, because the other terminal may be in another folder.
        serve = shlex.join(
            ["runcast", "serve", "--store", f"sqlite:///{quote(str(Path(kept).resolve()))}"]
        )
        watch = f"http://127.0.0.1:8000/#/runs/{run.run_id}"
        lines.append(f"runcast: to watch it: {serve}, then {watch}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _name_of(script: str) -> str:
    name = re.sub(r"[^\w.-]", "-", Path(script).name, flags=re.ASCII).lstrip(".-")
    return name[:_MAX_NAME_CHARS] or "script"


def _labels_of(given: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidValue(f"expected --label like user=ada, got {text[:80]!r}")
        labels[key] = value
    return labels
