"""`runcast invoke`: begins a run on a server and shows it."""

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from runcast._cli.exits import DONE, LEFT
from runcast._cli.reaching import add_options, open_async_client, sendable
from runcast._cli.show import print_json
from runcast._cli.texts import plain
from runcast._cli.upload import parse_files, upload
from runcast._cli.watch import add_output, make_folder, watch
from runcast.errors import Conflict, InvalidValue

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("JsonOption", "add_inputs", "add_to", "parse_inputs", "run", "with_lone_json")


class JsonOption(argparse.Action):
    """`--json`: alone it sets the output's format; with an object it gives inputs."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Take one use of the option."""
        if not values:
            namespace.json = True
        elif isinstance(values, str) and values.lstrip().startswith("{"):
            namespace.inputs = values
        else:
            parser.error(
                f"""expected --json alone, or an object like --json '{{"n": 1}}', got {values!r}"""
            )


_TAKING_INPUTS: Final = ("invoke", "doctor")


def with_lone_json(argv: Sequence[str]) -> list[str]:
    """Return arguments where `--json` takes the next argument only if that looks like JSON.

    So `runcast invoke --json count` invokes `count` and prints JSON.
    """
    arguments = list(argv)
    if arguments[:1] and arguments[0] in _TAKING_INPUTS:
        for at, (argument, following) in enumerate(zip(argv, [*argv[1:], ""], strict=False)):
            if argument == "--json" and not following.lstrip().startswith(("{", "[", '"')):
                arguments[at] = "--json="
    return arguments


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "invoke",
        help="begin a run and watch it",
        description="Begins a run of a function and shows it until it ends: with bars in a "
        "terminal, as plain lines elsewhere. The exit code tells how it ended. In a terminal "
        "questions are answered at a prompt, and a line that you type is sent to the run as a "
        "message. Ctrl-C leaves, and the run goes on; a second Ctrl-C asks whether to cancel it.",
    )
    parser.add_argument(
        "function",
        metavar="FUNCTION",
        type=sendable,
        help="the function's name; `runcast functions` lists them",
    )
    add_inputs(parser)
    parser.add_argument(
        "--file",
        metavar="KEY=PATH",
        action="append",
        default=[],
        help="a file to give to the run, in that group of its inputs; repeatable",
    )
    add_output(parser)
    parser.add_argument("--run-id", metavar="ID", type=sendable, default="", help="the run's id")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="with --run-id: start the run again if it exists; if it is at work, cancel it first",
    )
    parser.add_argument("--detach", action="store_true", help="print the run's id and leave")
    add_options(parser, has_store=False)
    parser.add_argument(
        "--store",
        metavar="STORE",
        type=sendable,
        default="",
        help="refused, with what to do: a store has runs, but no functions to begin one of",
    )
    parser.set_defaults(run=run)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Add the options for a function's inputs and for JSON output."""
    parser.add_argument(
        "--input",
        metavar="NAME=VALUE",
        action="append",
        type=sendable,
        default=[],
        help="an input; a value is parsed as JSON if possible, else taken as text; repeatable",
    )
    parser.add_argument(
        "--json",
        metavar="OBJECT",
        nargs="?",
        type=sendable,
        action=JsonOption,
        default=False,
        help="alone: print JSON, one value per line; with an object: inputs, in addition to "
        "--input; both uses may be combined",
    )
    parser.set_defaults(inputs="{}")


def run(arguments: argparse.Namespace) -> int:
    """Begin a run and show it.

    Raises:
        InvalidValue: the inputs or files are wrong; the message names every error. Or a store is
            given instead of a server.
        NotFound: the function does not exist.
        ServerUnavailable: the server cannot be reached.
    """
    if arguments.store:
        store = shlex.quote(arguments.store)
        raise InvalidValue(
            "expected a server, got a store: a store has runs, but no functions to begin one of. "
            f"Serve the functions on it with `runcast serve FILE.py --store {store}`, and invoke "
            "them without --store; or begin the run in Python, with `open_hub(…).start(…)`"
        )
    inputs = parse_inputs(arguments.input, arguments.inputs)
    files = parse_files(arguments.file)
    if arguments.detach and arguments.out is not None:
        raise InvalidValue(
            "expected --out without --detach: files are there at the end; get them with `runcast "
            "watch RUN_ID --out DIR`"
        )
    folder = make_folder(arguments)

    async def invoking() -> int:
        async with open_async_client(arguments) as client:
            run_id = await _begin(client, arguments, inputs, files)
            if not run_id:
                return LEFT
            if not arguments.detach:
                return await watch(client, run_id, arguments, folder, is_new=True)
            if arguments.json:
                print_json({"run_id": run_id})
            else:
                print(plain(run_id))
            return DONE

    return asyncio.run(invoking())


async def _begin(
    client: "AsyncClient",
    arguments: argparse.Namespace,
    inputs: dict[str, Any],
    files: list[tuple[str, Path]],
) -> str:
    """Begin the run and return its id; "" if the person left."""
    try:
        return await client.invoke(
            arguments.function,
            inputs,
            run_id=arguments.run_id,
            replace=arguments.replace,
            files=await upload(client, files) if files else None,
        )
    except asyncio.CancelledError:
        print(
            "interrupted before the server confirmed a run; check with: runcast runs",
            file=sys.stderr,
        )
        return ""
    except Conflict as error:
        raise Conflict(
            f"{error.message}; `--replace` starts it again, without --run-id a new run begins"
        ) from None
    except InvalidValue as error:
        raise type(error)(error.message + _advice(arguments.input, error.message)) from None


def _advice(pairs: Sequence[str], message: str) -> str:
    """Return how to give a text that looks like a number, if the server wants a text."""
    for pair in pairs:
        name, _, text = pair.partition("=")
        refusals = (f"{name}: Expected `str`", f"{name}: Input should be a valid string")
        if any(each in message and " - at " not in message for each in refusals):
            return f"; give a text as --input '{name}={json.dumps(text)}'"
    return ""


def parse_inputs(pairs: Sequence[str], whole: str) -> dict[str, Any]:
    """Return the inputs from the options. Raises `InvalidValue`."""
    try:
        inputs = _parse(whole)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"expected --json to be JSON: {error}") from None
    if not isinstance(inputs, dict):
        raise InvalidValue("expected --json to be an object")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidValue(f"expected --input NAME=VALUE, got {pair[:100]!r}")
        try:
            inputs[name] = _parse(text)
        except (ValueError, RecursionError):
            inputs[name] = text
    return inputs


def _parse(text: str) -> Any:
    """Return the value of strict JSON. Raises `ValueError`."""

    def finite(number: str) -> float:
        value = float(number)
        if not isfinite(value):
            raise ValueError(f"{number[:40]} is not a number that JSON can hold")
        return value

    return json.loads(text, parse_float=finite, parse_constant=finite)
