"""`runcast serve`: functions, their runs and their watchers, over HTTP."""

import argparse
import json
import logging
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

from runcast._app import OpenHub
from runcast._cli.example import needed_files, pick_example
from runcast._cli.leaving import Leaving
from runcast._cli.reaching import path_of, without_password
from runcast._cli.supervising import (
    leave_the_terminals_group,
    serve_again_and_again,
    stay_behind_as_init,
)
from runcast._cli.target import load_target
from runcast._cli.workers import inherited_socket, is_quiet, serve_in_workers, shared_folder
from runcast._functions.function import Function
from runcast._logs import bound
from runcast._settings import Settings
from runcast.errors import InvalidValue
from runcast.events.view import ViewSpec

__all__ = (
    "DEFAULT_STORE",
    "add_broker_to",
    "add_to",
    "announcement",
    "load_settings",
    "make_folder",
    "run",
)

DEFAULT_STORE: Final = "sqlite:///.runcast/runs.db"
"""On disk, so that runs survive a restart; in a folder that is easy to ignore."""

_MOST_WORKERS: Final = 64

_LEVELS: Final = ("debug", "info", "warning", "error")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "serve",
        help="serve functions over HTTP",
        description="Serves functions over HTTP, with the events of their runs.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="a Python file with decorated functions, a prefab-manifest.json or its folder, or "
        "module:attribute (a function, or a list, dict or module of functions); without it the "
        "demo functions are served",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        default=8000,
        type=_port,
        help="port to listen on; 0 takes a free one (%(default)s)",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("RUNCAST_STORE") or DEFAULT_STORE,
        help="where runs are kept: sqlite:///PATH, redis://HOST:PORT/0 or memory://; RUNCAST_STORE "
        "by default, else "
        f"{DEFAULT_STORE}",
    )
    parser.add_argument(
        "--files",
        metavar="URL",
        help="a bucket for files, s3://bucket/prefix, which all nodes on a store reach; by default "
        "the setting files",
    )
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--token",
        default=os.environ.get("RUNCAST_TOKEN", ""),
        help="the access token that requests must send; better set as RUNCAST_TOKEN in the "
        "environment, where other users of the machine cannot see it",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="listen where other machines can reach the server, even without a token",
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another host name of this server, besides localhost and --host; repeatable",
    )
    parser.add_argument(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="an origin, like https://app.example, whose pages may use this server; repeatable",
    )
    parser.add_argument(
        "--view",
        metavar="[NAME=]FILE",
        action="append",
        default=[],
        help="a YAML file with a view; without a name it is for watchers that ask for no view; "
        "repeatable",
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="what is logged (%(default)s)"
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        help="for development: the pages and commands of this machine show the tracebacks of "
        "functions; only on a loopback --host",
    )
    parser.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="server processes that share the address and the store, 1 to 64 (%(default)s)",
    )
    _add_launcher_to(parser)
    parser.add_argument(
        "--reload",
        action="store_true",
        help="for development: start again when the code of the target changes; running "
        "runs are cancelled; needs the package watchfiles: pip install watchfiles",
    )
    parser.set_defaults(run=run)


def _add_launcher_to(parser: argparse.ArgumentParser) -> None:
    """Add the options of a server that hands its runs to workers."""
    parser.add_argument(
        "--launcher",
        choices=("celery",),
        help="hand runs to workers of Celery (`runcast worker`) instead of running them here",
    )
    add_broker_to(parser)


def add_broker_to(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the broker."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        help="the broker that takes runs to workers, like redis://host:6379/1; with a password "
        "better set as RUNCAST_BROKER in the environment",
    )


def _without_reload(argv: Sequence[str]) -> list[str]:
    return [argument for argument in argv if argument != "--reload"]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"expected 1 to {_MOST_WORKERS}, got {text!r}")
    return int(text)


def _serve_in_workers(arguments: argparse.Namespace) -> int:
    """Start the workers and wait for their end. Raises `InvalidValue`."""
    if arguments.reload:
        raise InvalidValue("expected --workers or --reload, not both")
    if urlsplit(arguments.store).scheme == "memory":
        raise InvalidValue(
            "expected --workers with a store that processes share, like sqlite:///runs.db or "
            f"redis://host, got {arguments.store}"
        )
    from runcast._http.server.server import bind

    make_folder(arguments.store)
    argv = [*arguments.argv, "--workers", "1"]  # the last one counts
    settings = load_settings(arguments.settings, files=arguments.files, launcher=arguments.launcher)
    folder = shared_folder(arguments.store, settings)
    with bind(arguments.host, arguments.port) as bound, folder as environ:
        return serve_in_workers(arguments.workers, bound, argv, environ=environ)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM. Ctrl-C also ends the server, and raises KeyboardInterrupt.

    Returns the exit code.

    Raises:
        InvalidValue, Forbidden, BackendError: the server cannot start; the message says why.
    """
    stay_behind_as_init()
    _log_to_stderr(arguments.log_level)
    if arguments.workers > 1:
        return _serve_in_workers(arguments)
    bound_before = inherited_socket()
    if arguments.reload:
        serve_again_and_again(arguments.target, _without_reload(arguments.argv))
        raise KeyboardInterrupt
    leave_the_terminals_group()
    settings = load_settings(
        arguments.settings,
        launcher=arguments.launcher,
        broker=arguments.broker,
        files=arguments.files,
    )
    functions = _load_functions(arguments.target)
    views = _load_views(arguments.view)
    hub = OpenHub(arguments.store, functions=functions, settings=settings)

    # Imported only now, so that --help and a mistyped name answer fast.
    from runcast._http.app import HttpApp
    from runcast._http.server.server import is_loopback, serve

    app = HttpApp(
        hub,
        token=arguments.token,
        hosts=arguments.allow_host,
        origins=arguments.allow_origin,
        views=views,
    )
    if arguments.debug:
        if not is_loopback(arguments.host):
            raise InvalidValue(
                f"expected --debug with a loopback --host, got {arguments.host!r}: tracebacks may "
                "hold paths and values that other machines must not see"
            )
        hub.runner.tracebacks.keep()
        app.tracebacks.show(hub.runner.tracebacks.of)
    make_folder(arguments.store)
    # After a graceful end on SIGTERM, uvicorn raises the signal again, which would kill us.
    signal.signal(signal.SIGTERM, _end)
    if bound_before is not None:  # a worker ended by it without a word until now
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with Leaving(hub.runner, settings) as leaving:
        serve(
            app,
            host=arguments.host,
            port=arguments.port,
            insecure=arguments.insecure,
            on_ready=lambda url: _announce(arguments, url, functions, app.is_protected),
            bound=bound_before,
            on_end=leaving.begin,
            on_hurry=leaving.hurry,
            log_level=arguments.log_level,
        )
    return 0


def _announce(
    asked: argparse.Namespace, url: str, functions: Sequence[Function[..., Any]], has_token: bool
) -> None:
    if is_quiet():
        return
    is_demo = asked.target is None
    text = announcement(url, functions, asked.store, has_token=has_token, is_demo=is_demo)
    print(text, flush=True)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(),
        format="%(levelname)s %(name)s: %(message)s",
        stream=_own_stderr(),
    )
    # asyncio reports the errors of tasks that functions left behind.
    bound(logging.getLogger("asyncio"))


def _own_stderr() -> TextIO | None:
    """Return standard error for the log only, because functions may replace `sys.stderr`."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # missing, or not a file
        return sys.stderr
    # Kept open until the process ends.
    return open(
        descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def _load_views(given: Sequence[str]) -> dict[str, ViewSpec]:
    if not given:
        return {}
    from runcast.views import load_view  # late, because YAML takes 20 ms

    views: dict[str, ViewSpec] = {}
    for text in given:
        name, equals, file = text.rpartition("=")
        name = name if equals else "default"
        if name in views or name == "none" or not name.isidentifier():
            raise InvalidValue(
                f"expected each --view to have a name of its own, of letters and digits and not "
                f"'none'; got {text!r}"
            )
        views[name] = load_view(file)
    return views


def announcement(
    url: str,
    functions: Sequence[Function[..., Any]],
    store: str,
    *,
    has_token: bool,
    is_demo: bool = False,
) -> str:
    """Return the text printed once the server answers; programs read its first line."""
    where = f"in {path_of(store) or without_password(store)}"
    if urlsplit(store).scheme == "memory":
        where = "in memory, until this process ends"
    names = ", ".join(function.name for function in functions)
    return "\n".join(
        (
            f"runcast is listening on {url}",
            f"  open     {url}/",
            f"  try      {_command_to_try(url, functions, has_token=has_token)}",
            f"  serves   {names}{' (the demo; name a file to serve yours)' if is_demo else ''}",
            f"  keeps    runs {where}",
        )
    )


def _command_to_try(url: str, functions: Sequence[Function[..., Any]], *, has_token: bool) -> str:
    found = pick_example(functions)
    # The shell puts the token in: what we print may end up in a log.
    token = ' -H "Authorization: Bearer $RUNCAST_TOKEN"' if has_token else ""
    if found is None:
        return f"curl{token} {url}/functions"
    function, inputs = found
    if files := needed_files(function):
        given = ["--json", json.dumps(inputs, ensure_ascii=False), *files, "--url", url]
        return f"runcast invoke {function.name} {shlex.join(given)}"
    headers = "-H 'Content-Type: application/json'"
    if not function.is_streaming:
        headers += " -H 'Accept: text/event-stream'"
    body = shlex.quote(json.dumps({"inputs": inputs}, ensure_ascii=False))
    return f"curl -N{token} {headers} -d {body} {url}/invoke/{function.name}"


def _load_functions(target: str | None) -> list[Function[..., Any]]:
    if target is not None:
        return load_target(target)
    from runcast.demo import FUNCTIONS

    return list(FUNCTIONS)


def load_settings(file: str | None, **given: str | None) -> Settings:
    """Return the settings of a file, the environment and the command line (None: not given).

    Raises `InvalidValue`.
    """
    try:
        return Settings.load(file=file, environ=None, **given)
    except OSError as error:
        raise InvalidValue(f"cannot read the settings {file!r}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"expected {file!r} to be TOML: {error}") from None


def make_folder(store: str) -> None:
    """Make the folder of a store's file. Raises `InvalidValue`."""
    path = path_of(store)
    if not path:
        return
    folder = Path(path).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValue(
            f"cannot make the folder {str(folder)!r} for the store: {error.strerror}; "
            "choose another --store"
        ) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, got {text!r}")
    return int(text)


def _end(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
