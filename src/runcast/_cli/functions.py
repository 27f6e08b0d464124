"""`runcast functions`: lists what a server can run."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runcast._cli.formatting import HelpFormatter
from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.show import print_json
from runcast._cli.texts import plain, plain_lines, table
from runcast.errors import NotFound

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "run")

_MOST_DEPTH: Final = 4
"""Most types inside types that are named in a line."""

_MOST_WAYS: Final = 8
"""Most alternatives that are named in a line."""

_BOUNDS: Final = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minLength": "length ≥",
    "maxLength": "length ≤",
}


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "functions",
        help="list the functions that a server can run",
        description="Lists the functions of a server. With a name, shows what the function takes.",
        epilog="examples:\n  runcast functions\n  runcast functions count_words",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "name", metavar="FUNCTION", nargs="?", type=sendable, help="show only this function"
    )
    parser.add_argument("--json", action="store_true", help="print one function a line, as JSON")
    add_options(parser, has_store=False)
    parser.set_defaults(run=with_client(run))


def run(client: "Client", arguments: argparse.Namespace) -> int:
    """Print the functions of a server. Raises what `Client.functions` raises, and `NotFound`."""
    functions = msgspec.to_builtins(client.functions())
    if arguments.name is not None:
        functions = [one for one in functions if one.get("name") == arguments.name]
        if not functions:
            raise NotFound(
                f"there is no function {arguments.name!r}; `runcast functions` lists them"
            )
    if arguments.json:
        for function in functions:
            print_json(function)
    elif arguments.name is not None:
        print(_described(functions[0]))
    elif functions:
        rows = [(plain(str(one.get("name"))), _summary(one)) for one in functions]
        print(table(("FUNCTION", "WHAT IT DOES"), rows, sys.stdout))
    else:
        print("no functions", file=sys.stderr)
    return 0


def _summary(function: dict[str, Any]) -> str:
    lines = str(function.get("description") or "").strip().splitlines()
    return plain(lines[0]) if lines else ""


def _described(function: dict[str, Any]) -> str:
    lines = [plain(str(function.get("name")))]
    if function.get("description"):
        lines += [
            f"  {line}".rstrip() for line in plain_lines(str(function["description"])).split("\n")
        ]
    schema = function.get("inputs")
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    required = schema.get("required", []) if isinstance(schema, dict) else []
    definitions = (schema.get("$defs") if isinstance(schema, dict) else None) or {}
    for name, about in properties.items():
        about = about if isinstance(about, dict) else {}
        kind = plain(_kind(about, definitions))
        if "default" in about:
            kind += f" = {plain(json.dumps(about['default'], ensure_ascii=False))}"
        needed = "" if name in required or "default" in about else ", optional"
        lines.append(f"  --input {plain(name)}=…  {kind}{needed}")
        if about.get("description"):
            lines += [f"      {line}" for line in plain_lines(about["description"]).split("\n")]
    for group in function.get("files") or ():
        lines.append(f"  --file {plain(str(group.get('key', '')))}=PATH")
    for secret in function.get("secrets") or ():
        name = secret.get("name", "") if isinstance(secret, dict) else secret
        lines.append(f"  needs the secret {plain(str(name))}")
    return "\n".join(lines)


def _kind(schema: dict[str, Any], definitions: dict[str, Any], depth: int = 0) -> str:
    """Return in a few words what a schema allows: `integer`, `"a" | "b"`, `Order {id, items?}`."""
    if "$ref" in schema and depth < _MOST_DEPTH:
        named = definitions.get(str(schema["$ref"]).rpartition("/")[2])
        return _kind(named if isinstance(named, dict) else {}, definitions, depth + 1)
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if ways := schema.get("anyOf") or schema.get("oneOf"):
        found = [_kind(way, definitions, depth + 1) for way in ways[:_MOST_WAYS]]
        return " | ".join(dict.fromkeys(found))
    if schema.get("type") == "array":
        items = schema.get("items")
        inner = _kind(items, definitions, depth + 1) if isinstance(items, dict) and items else ""
        return f"array of {inner}" if inner else "array"
    if properties := schema.get("properties"):
        required = schema.get("required", ())
        fields = ", ".join(f"{name}{'' if name in required else '?'}" for name in properties)
        return f"{schema.get('title', 'object')} {{{fields}}}"
    return f"{schema.get('format') or schema.get('type', 'any')}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    shown = [f"{sign} {schema[name]}" for name, sign in _BOUNDS.items() if name in schema]
    return f" ({', '.join(shown)})" if shown else ""
