"""`runcast export`: writes a run into a file, for others to see and for `runcast replay`."""

import argparse
import secrets
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.target import load_attribute
from runcast._cli.texts import plain
from runcast.errors import InvalidValue
from runcast.events.model import Event

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "run")


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "export",
        help="write a run into a file",
        description="Writes a run into a file: a page that shows the run without a server "
        "(run.html), or its log as lines of JSON (run.ndjson). A run that goes on is written as it "
        "is now. Inputs and labels are left out.",
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="the run")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        required=True,
        help="the file to write, like run.html or run.ndjson; - writes lines to standard output",
    )
    parser.add_argument("--inputs", action="store_true", help="write the run's inputs, too")
    parser.add_argument("--labels", action="store_true", help="write the run's labels, too")
    parser.add_argument(
        "--redact",
        metavar="MODULE:FUNCTION",
        help="a function that gets each event before it is written, and returns what is written "
        "instead; None leaves out the event's data. If it fails, nothing is written",
    )
    add_options(parser)
    parser.set_defaults(run=with_client(run))


def run(client: "Client", arguments: argparse.Namespace) -> int:
    """Write a recording. Raises what `record_run` raises."""
    from runcast.client.recording import record_run  # late: the help needs no HTTP client

    redact = _load_redact(arguments.redact) if arguments.redact else None
    lines = record_run(
        client,
        arguments.run_id,
        with_inputs=arguments.inputs,
        with_labels=arguments.labels,
        redact=redact,
    )
    if arguments.output == "-":
        _print(lines)
        return 0
    path = Path(arguments.output)
    if path.suffix.lower() in (".html", ".htm"):
        # Imported only now, so that other commands need no web framework.
        from runcast._http.console.export_page import export_page

        lines = export_page(lines)
    elif path.suffix not in (".ndjson", ".jsonl"):
        raise InvalidValue(f"expected a file like run.html or run.ndjson, got {path.name!r}")
    _write_whole(path, lines)
    print(plain(f"{arguments.run_id} is in {path}"))
    return 0


def _load_redact(target: str) -> Callable[[Event], Event | None]:
    """Return the function of `module:function`. Raises `InvalidValue`."""
    found = load_attribute(target)
    if not callable(found):
        raise InvalidValue(f"expected {target!r} to be a function, got {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _print(lines: Iterable[bytes]) -> None:
    # As a whole: if redacting fails, nothing is written.
    for line in list(lines):
        sys.stdout.buffer.write(line)


def _write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines into a file, which appears when it is whole.

    Raises:
        InvalidValue: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            for line in lines:
                file.write(line)
        part.replace(path)
    except OSError as error:
        raise InvalidValue(f"cannot write {str(path)!r}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            part.unlink()
