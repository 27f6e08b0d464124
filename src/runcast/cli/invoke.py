"""`runcast invoke`: begins a run on a server and shows it."""

import argparse
import json
from typing import Any
from urllib.parse import quote

from runcast.cli.remote import Remote, add_options
from runcast.cli.watch import watch
from runcast.errors import InvalidValue

__all__ = ("add_to", "parse_inputs", "run")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "invoke",
        help="begin a run and watch it",
        description="Begins a run of a function and shows it until it ends; the exit code tells "
        "how: 0 done, 1 failed, 3 cancelled. Ctrl-C leaves; the run goes on.",
    )
    parser.add_argument("function", metavar="FUNCTION")
    parser.add_argument(
        "--input",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="an input; a value that is JSON is taken as that, any other as text; repeatable",
    )
    parser.add_argument(
        "--inputs", metavar="JSON", default="{}", help="inputs as an object, besides --input"
    )
    parser.add_argument("--run-id", metavar="ID", default="", help="the run's id")
    parser.add_argument("--detach", action="store_true", help="print the run's id and leave")
    parser.add_argument("--json", action="store_true", help="print one event a line, as JSON")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Begin a run and show it.

    Raises:
        InvalidValue: the inputs are wrong; the message names everything that is.
        NotFound: there is no such function.
        PeerError: the server cannot be reached.
    """
    remote = Remote(arguments.url)
    body: dict[str, Any] = {"inputs": parse_inputs(arguments.input, arguments.inputs)}
    if arguments.run_id:
        body["run_id"] = arguments.run_id
    path = f"/invoke/{quote(arguments.function, safe='')}"
    run_id = remote.ask("POST", path, body, {"prefer": "respond-async"})["run_id"]
    if arguments.detach:
        print(run_id)
        return 0
    return watch(remote, run_id, as_json=arguments.json)


def parse_inputs(pairs: list[str], whole: str) -> dict[str, Any]:
    """Return the inputs that the options give. Raises `InvalidValue`."""
    try:
        inputs = json.loads(whole)
    except ValueError as error:
        raise InvalidValue(f"expected --inputs to be JSON: {error}") from None
    if not isinstance(inputs, dict):
        raise InvalidValue("expected --inputs to be a JSON object")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidValue(f"expected --input NAME=VALUE, got {pair[:100]!r}")
        try:
            inputs[name] = json.loads(text)
        except ValueError:
            inputs[name] = text
    return inputs
