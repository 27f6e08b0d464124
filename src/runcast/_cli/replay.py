"""`runcast replay`: serves a recording as if its run happened now."""

import argparse
import math
from typing import Any

__all__ = ("add_to", "run")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "replay",
        help="serve a recording as if its run happened now",
        description="Serves a file of `runcast export RUN -o run.ndjson` as if its run happened "
        "now, so that a user interface needs no model and no functions.",
    )
    parser.add_argument("file", metavar="FILE", help="the recording")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        help="how many times as fast as it was recorded; 0 sends everything at once (%(default)g)",
    )
    parser.add_argument("--loop", action="store_true", help="begin again after the end")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this origin use the server, like http://localhost:5173; repeatable",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until a signal. Raises what `replay` and `serve` raise."""
    # Imported only now, so that other commands need no web framework.
    from runcast._app.replaying import replay
    from runcast._http.server.server import serve

    played = replay(
        arguments.file,
        speed=arguments.speed,
        loop=arguments.loop,
        origins=arguments.allow_origin,
    )

    def announce(url: str) -> None:
        print(f"runcast is listening on {url}\n  open     {url}/#/runs/{played.run_id}", flush=True)
        print(f"  try      curl -N {url}/runs/{played.run_id}/events", flush=True)

    serve(played.app, port=arguments.port, on_ready=announce)


def _speed(text: str) -> float:
    speed = float(text)
    if not math.isfinite(speed) or speed < 0:
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return speed
