"""Writes the TypeScript types of the protocol from the Python definitions, and the version.

    .venv/bin/python web/generate.py            write them
    .venv/bin/python web/generate.py --check    fail if the committed ones differ

The definitions are `runcast.events` (the data of events, the snapshot and its bounds), the
client's models of what a server answers, and `runcast.errors` (the codes). The npm package has the
version of `pyproject.toml`.
"""

import argparse
import json
import re
import sys
import tomllib
import types
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from runcast import errors
from runcast.client import model
from runcast.events import snapshot
from runcast.events.lifecycle import STATUSES
from runcast.events.plain import MAX_DEPTH
from runcast.events.schemas import DATA
from runcast.events.vocabulary import DELTA_TYPES, KNOWN, TERMINAL

WEB = Path(__file__).parent
SOURCES = WEB / "client" / "src"

HEAD = "// Made by web/generate.py from the Python definitions; do not edit.\n"

ANSWERS = (
    model.RunInfo,
    model.RunState,
    model.Decision,
    model.FunctionInfo,
    model.FileInfo,
)
"""What a server answers. `RunChange` and the events are written by hand, since they are unions."""

SOMETIMES = frozenset({"traceback"})
"""Fields of answers that a server does not always send."""

PARTS = tuple(
    kind
    for name in snapshot.__all__
    if isinstance(kind := getattr(snapshot, name), type) and issubclass(kind, msgspec.Struct)
)

_SIMPLE = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


# --- structs ----------------------------------------------------------------------------------


def type_of(hint: Any) -> str:
    """Return the TypeScript type of a Python type."""
    if hint is Any:
        return "unknown"
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is typing.Literal:
        return "RunStatus" if inner == STATUSES else " | ".join(f"'{each}'" for each in inner)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(type_of(each) for each in inner))
    if origin in (list, tuple):
        element = type_of(inner[0])
        return f"readonly ({element})[]" if "|" in element else f"readonly {element}[]"
    if origin is dict:
        return f"Readonly<Record<string, {type_of(inner[1])}>>"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint.__name__
    raise TypeError(f"no TypeScript for {hint!r}")


def comment(text: str | None, indent: str = "") -> str:
    """Return a docstring as a comment."""
    lines = [line.strip() for line in (text or "").strip().splitlines()]
    lines = [line.replace("*/", "* /") for line in lines]
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} *{' ' + line if line else ''}\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"


def interface(kind: type[msgspec.Struct]) -> str:
    """Return a struct as an interface; a field that JSON may leave out is optional."""
    omits = kind.__struct_config__.omit_defaults
    parent = next((each for each in ANSWERS if each in kind.__bases__), None)
    inherited = {each.name for each in msgspec.structs.fields(parent)} if parent else set()
    rows = []
    for field in msgspec.structs.fields(kind):
        if field.name in inherited:
            continue
        optional = "?" if (omits and not field.required) or field.name in SOMETIMES else ""
        hint = type_of(field.type)
        if optional:
            hint = hint.removesuffix(" | null")
        rows.append(f"  readonly {field.encode_name}{optional}: {hint};\n")
    extends = f" extends {parent.__name__}" if parent else ""
    about = comment(kind.__doc__)
    return f"{about}export interface {kind.__name__}{extends} {{\n{''.join(rows)}}}\n"


# --- events ------------------------------------------------------------------------------------


def data_type(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array":
        return f"readonly {data_type(schema.get('items', {}))}[]"
    known = {
        "string": "string",
        "number": "number",
        "integer": "number",
        "boolean": "boolean",
        "object": "Readonly<Record<string, unknown>>",
    }
    return known[kind] if isinstance(kind, str) else "unknown"


def event_data() -> str:
    """Return the interface that has the data of each known type."""
    types_ = []
    for name in KNOWN:
        rows = []
        for field, schema in DATA[name].items():
            if about := schema.get("description"):
                rows.append(f"    /** {about} */\n")
            rows.append(f"    readonly {field}?: {data_type(dict(schema))};\n")
        types_.append(f"  {name}: {{\n{''.join(rows)}  }};\n")
    about = comment(
        "The fields of `data`, by the type of the event. A function may write other data under a "
        "known\ntype, so no field is sure."
    )
    return f"{about}export interface EventData {{\n{''.join(types_)}}}\n"


# --- the files -----------------------------------------------------------------------------------


def words(name: str, about: str, found: typing.Iterable[str]) -> str:
    listed = "".join(f"  '{each}',\n" for each in found)
    return f"/** {about} */\nexport const {name} = [\n{listed}] as const;\n"


def codes() -> dict[str, type[errors.RuncastError]]:
    """Return the class of each code."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    ours = [each for each in kinds if issubclass(each, errors.RuncastError)]
    return {each.code: each for each in sorted(ours, key=lambda each: len(each.__mro__))}


def protocol() -> str:
    """Return the types of what a server sends."""
    classes = codes()
    parts = [
        HEAD,
        words("STATUSES", "The statuses of a run.", STATUSES),
        "export type RunStatus = (typeof STATUSES)[number];\n",
        words(
            "CODES",
            "The codes of problems that are worth no second try.",
            (code for code, kind in classes.items() if not kind.retryable),
        ),
        words(
            "PASSING_CODES",
            "The codes of problems that may pass.",
            (code for code, kind in classes.items() if kind.retryable),
        ),
        "export type ErrorCode = (typeof CODES)[number] | (typeof PASSING_CODES)[number];\n",
        event_data(),
        *(interface(kind) for kind in PARTS if kind is not snapshot.Snapshot),
        interface(snapshot.Snapshot),
        *(interface(kind) for kind in ANSWERS),
    ]
    return "\n".join(parts)


def bounds() -> str:
    """Return the values that the fold needs."""
    lines = [HEAD]
    for name in snapshot.__all__:
        value = getattr(snapshot, name)
        if isinstance(value, int | float):
            lines.append(f"export const {name} = {value!r};\n")
    lines.append(f"export const MAX_DEPTH = {MAX_DEPTH};\n")
    lines.append(words("TERMINAL", "The types that end a run.", sorted(TERMINAL)))
    lines.append(words("DELTA_TYPES", "Types that continue a text.", sorted(DELTA_TYPES)))
    lists = {
        field.encode_name: [
            each.encode_name for each in msgspec.structs.fields(get_args(field.type)[0])
        ]
        for field in msgspec.structs.fields(snapshot.Snapshot)
        if get_origin(field.type) is list and get_args(field.type)[0] is not Any
    }
    lines.append(
        f"/** The fields of the entries of each list. */\nexport const ENTRIES = {js(lists)};\n"
    )
    empty = json.loads(msgspec.json.encode(snapshot.Snapshot()))
    lines.append(f"/** A run before its first event. */\nexport const EMPTY = {js(empty)};\n")
    return "".join(lines)


def entries() -> dict[str, list[str]]:
    """Return the fields of the entries of each list of a snapshot."""
    lists = {
        field.encode_name: get_args(field.type)[0]
        for field in msgspec.structs.fields(snapshot.Snapshot)
        if get_origin(field.type) is list
    }
    return {
        name: [field.encode_name for field in msgspec.structs.fields(kind)]
        for name, kind in lists.items()
        if kind is not Any
    }


def js(value: object) -> str:
    return json.dumps(value, indent=2)


def npm_version(version: str) -> str:
    """Return a version of Python in the form of npm: 1.2.3rc1 is 1.2.3-rc.1."""
    made = re.sub(r"(\d)(a|b|rc|\.dev)(\d+)$", r"\1-\2.\3", version)
    return made.replace("-.dev", "-dev")


def with_version(name: str) -> str:
    """Return a file of npm with the project's version for the client."""
    project = tomllib.loads((WEB.parent / "pyproject.toml").read_text("utf-8"))["project"]
    version = json.dumps(npm_version(project["version"]))
    text = (WEB / name).read_text("utf-8")
    return re.sub(r'("name": "@runcast/client",\s*"version": )"[^"]*"', rf"\g<1>{version}", text)


FILES: dict[Path, Callable[[], str]] = {
    SOURCES / "protocol.generated.ts": protocol,
    SOURCES / "folding" / "bounds.generated.ts": bounds,
    WEB / "client" / "package.json": partial(with_version, "client/package.json"),
    WEB / "package-lock.json": partial(with_version, "package-lock.json"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    is_check = parser.parse_args().check
    for path, make in FILES.items():
        text = make()
        if not is_check:
            path.write_text(text, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != text:
            name = path.relative_to(WEB.parent)
            sys.exit(f"{name} is stale; write it: .venv/bin/python web/generate.py")


if __name__ == "__main__":
    main()
