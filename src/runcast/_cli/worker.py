"""`runcast worker`: runs what servers with a launcher hand over."""

import argparse
import os
import re
from typing import Any, Final

from runcast._app import OpenHub
from runcast._app.engine_worker import EngineWorker
from runcast._app.in_thread import OpenHubInThread
from runcast._app.launchers import check_broker
from runcast._cli.serve import DEFAULT_STORE, add_broker_to, load_settings, make_folder
from runcast._cli.target import load_target

__all__ = ("add_to", "run")

_POOLS: Final = ("prefork", "solo", "threads")

_LEVELS: Final = ("debug", "info", "warning", "error")

_MOST: Final = 1000


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "worker",
        help="run what `runcast serve --launcher celery` hands over",
        description="Runs the functions of a server that was started with --launcher celery. It is "
        "a worker of Celery: Ctrl-C and SIGTERM end it after its present runs.",
    )
    parser.add_argument("target", metavar="TARGET", help="the target of the server")
    parser.add_argument(
        "--store",
        metavar="URL",
        default=os.environ.get("RUNCAST_STORE") or DEFAULT_STORE,
        help=f"the store of the server; RUNCAST_STORE by default, else {DEFAULT_STORE}",
    )
    add_broker_to(parser)
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--pool",
        choices=_POOLS,
        default="prefork",
        help="where runs run: each in a process of the pool, in the worker's own process, or in "
        "its threads (%(default)s)",
    )
    parser.add_argument(
        "--concurrency",
        type=_count,
        default=0,
        metavar="N",
        help="runs at once, 1 to 1000; by default as many as the machine has processors",
    )
    parser.add_argument(
        "--log-level", choices=_LEVELS, default="warning", help="what is logged (%(default)s)"
    )
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected 1 to {_MOST}, got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal ends it; return the exit code.

    Raises:
        InvalidValue, BackendError: the worker cannot start; the message says why.
    """
    settings = load_settings(arguments.settings, broker=arguments.broker)
    functions = load_target(arguments.target)
    check_broker(settings)
    from runcast.sources import _celery

    def make() -> OpenHub:
        return OpenHub(arguments.store, functions=functions, settings=settings, is_worker=True)

    make_folder(arguments.store)
    with OpenHubInThread(make()):
        pass  # it says what is wrong with the store before the worker takes a run
    worker = EngineWorker(make)
    app = _celery.make_app(settings.broker, settings.launch_queue, is_worker=True)
    return _celery.work(
        app,
        worker.run,
        worker.close,
        pool=arguments.pool,
        concurrency=arguments.concurrency,
        log_level=arguments.log_level,
    )
