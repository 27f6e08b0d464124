"""Read `prefab-manifest.json`: functions that are declared beside their code.

    {
      "entry_point": "src/main.py",
      "functions": [
        {
          "name": "summarize",
          "streaming": true,
          "parameters": [{"name": "text", "type": "string", "required": true}],
          "files": {"input": {"type": "array", "items": {"type": "InputFile"}}},
          "secrets": [{"name": "OPENAI_API_KEY", "required": true}]
        }
      ]
    }

Only `functions` and their names are required. Comments (`//`, `/* */`) are allowed. Unknown fields
are ignored, unless they look like a mistyped known field.

Every function runs in its own process and is invoked with the inputs unchanged. Its events have the
dialect `prefab`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import msgspec

from runcast._functions.file_groups import FileGroup, parse_file_groups
from runcast._functions.function import Function, Source
from runcast._functions.manifest_code import find_problems
from runcast._functions.parameters import Parameter
from runcast._functions.secrets import Secret
from runcast.errors import InvalidValue
from runcast.events.plain import MAX_DEPTH
from runcast.events.position import is_run_id
from runcast.events.prices import NO_BUDGET, Budget, checked_budget
from runcast.events.vocabulary import is_deeper

__all__ = ("MANIFEST", "InvalidManifest", "ManifestFunction", "load_manifest", "parse_manifest")

MANIFEST: Final = "prefab-manifest.json"
"""The file's name."""

_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "number": int | float,
    "integer": int,
    "boolean": bool,
    "object": dict[str, Any],
    "array": list[Any],
    "InputFile": str,
    "OutputFile": str,
}

_SECRET: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_ID: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")


class InvalidManifest(InvalidValue):
    """A manifest has problems; `problems` holds all of them, each with its JSON path."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, problems)
        self.problems = problems


class _Manifest(msgspec.Struct):
    functions: list[Any]
    schema_version: str = "1.0"
    id: str = ""
    version: str = ""
    name: str = ""
    description: str = ""
    entry_point: str = "src/main.py"
    dependencies_file: str = "pyproject.toml"


class _Declared(msgspec.Struct):
    name: str
    description: str = ""
    parameters: list[Any] = []
    returns: Any = None
    files: dict[str, Any] = {}
    secrets: list[Any] = []
    streaming: bool = False
    store_inputs: bool = True
    preload: bool = True
    max_tokens: int = 0
    max_cost: float = 0.0


class _Input(msgspec.Struct):
    name: str
    type: Literal[
        "string", "number", "integer", "boolean", "object", "array", "InputFile", "OutputFile"
    ]
    description: str = ""
    required: bool = True
    default: Any = msgspec.UNSET
    enum: list[str | int] | None = None


class _Secret(msgspec.Struct):
    name: str
    description: str = ""
    required: bool = True
    instructions: str = ""


class ManifestFunction(Function[..., Any]):
    """A function declared in a manifest. Only the processes that run it import it."""

    def __init__(
        self,
        name: str,
        source: Source,
        parameters: Sequence[Parameter] = (),
        *,
        description: str = "",
        is_streaming: bool = False,
        secrets: Sequence[Secret] = (),
        files: Mapping[str, FileGroup] | None = None,
        store_inputs: bool = True,
        preload: bool = True,
        budget: Budget = NO_BUDGET,
    ) -> None:
        def call() -> NoReturn:
            raise InvalidValue(f"{name!r} runs in its own process: start a run instead")

        super().__init__(call, name=name, description=description, store_inputs=store_inputs)
        self.budget = budget
        self.kind = "generator" if is_streaming else "plain"
        self.is_certain = True  # declared, and compared with the code
        self.parameters = tuple(parameters)
        self.isolation, self.preload = "process", preload
        self.source = source
        self.attribute = name
        self.takes_plain_inputs = True
        self.secrets = tuple(secrets)
        self.files = files or {}
        self.dialect = "prefab"

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs, with the defaults that the manifest declares."""
        defaults = {
            parameter.name: parameter.schema["default"]
            for parameter in self.parameters
            if "default" in parameter.schema
        }
        return {**defaults, **super().check(inputs)}


def load_manifest(path: str | Path) -> list[ManifestFunction]:
    """Return the functions of a manifest; `path` is the file, or its folder.

    Raises:
        InvalidManifest: names every error, and every difference from the code.
        InvalidValue: the file does not exist.
    """
    path = Path(path)
    file = path / MANIFEST if path.is_dir() else path
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidManifest(f"expected {str(file)!r} to be UTF-8") from None
    except OSError as error:
        raise InvalidValue(f"cannot read {str(file)!r}: {error.strerror}") from None
    return parse_manifest(text, file.resolve())


def parse_manifest(text: str, file: Path) -> list[ManifestFunction]:
    """Return the functions in a manifest's text, checked against the code beside it.

    Raises:
        InvalidManifest: see `load_manifest`.
    """
    problems: list[str] = []
    manifest = _read(_Manifest, _decode(text, file, problems), "", problems)
    functions: list[ManifestFunction] = []
    if manifest is not None:
        problems += _problems_of(manifest)
        code = _entry_point(manifest, file.parent, problems)
        source = Source(code.stem, str(code), (str(code.parent), str(file.parent)))
        for index, given in enumerate(manifest.functions):
            function = _read_function(given, f"functions[{index}]", source, problems)
            if function is not None:
                functions.append(function)
        if not problems:
            problems += find_problems(functions, code, manifest.entry_point)
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        listed = "\n  ".join(problems)
        raise InvalidManifest(f"{file.name} has {count}:\n  {listed}", tuple(problems))
    return functions


def _decode(text: str, file: Path, problems: list[str]) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            times = Counter(name for name, _ in pairs)
            problems.extend(f"{name} is given twice" for name in found if times[name] > 1)
        return found

    def refuse(constant: str) -> NoReturn:
        raise InvalidManifest(f"expected {file.name} to be JSON, which has no {constant}")

    try:
        read = json.loads(_without_comments(text), object_pairs_hook=unique, parse_constant=refuse)
        msgspec.json.encode(read)  # raises for lone surrogates, which could not be reported
        if is_deeper(read, MAX_DEPTH):  # it is encoded again for clients, deeper in the stack
            raise RecursionError
        return read
    except json.JSONDecodeError as error:
        raise InvalidManifest(
            f"{file.name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise InvalidManifest(f"{file.name} is nested too deeply") from None
    except ValueError as error:
        raise InvalidManifest(f"expected {file.name} to be JSON: {error}") from None


_STRING_OR_COMMENT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def _without_comments(text: str) -> str:
    """Replace comments by blanks, so that the rest keeps its line and column."""

    def blank(found: re.Match[str]) -> str:
        token = found.group()
        return token if token.startswith('"') else re.sub(r"[^\n]", " ", token)

    return _STRING_OR_COMMENT.sub(blank, text)


def _read(kind: type[msgspec.Struct], given: object, where: str, problems: list[str]) -> Any:
    """Return an object of the manifest; on errors add them to `problems` and return None."""
    if not isinstance(given, dict):
        problems.append(f"{where or 'the manifest'}: expected an object")
        return None
    before = len(problems)
    dot = f"{where}." if where else ""
    found: dict[str, Any] = {}
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name, field in fields.items():
        if name not in given:
            if field.required:
                problems.append(f"{dot}{name}: required, not given")
            continue
        try:
            found[name] = msgspec.convert(given[name], field.type)
        except msgspec.ValidationError as error:
            message, _, inside = str(error).partition(" - at `$")
            problems.append(f"{dot}{name}{inside.rstrip('`')}: {message[:1].lower()}{message[1:]}")
    problems += [
        f"{dot}{name}: unknown; is {close!r} meant?"
        for name in sorted(given.keys() - fields.keys())
        for close in get_close_matches(name, fields, 1, 0.8)
    ]
    return kind(**found) if len(problems) == before else None


def _problems_of(manifest: _Manifest) -> Iterator[str]:
    if manifest.schema_version != "1.0":
        yield f"schema_version: expected '1.0', got {manifest.schema_version!r:.80}"
    if manifest.id and not (3 <= len(manifest.id) <= 64 and _ID.fullmatch(manifest.id)):
        yield f"id: expected 3 to 64 characters like 'video-to-audio', got {manifest.id!r:.80}"
    if manifest.version and not _VERSION.fullmatch(manifest.version):
        yield f"version: expected one like '1.2.3', got {manifest.version!r:.80}"
    if not manifest.functions:
        yield "functions: expected at least one"
    names: set[str] = set()
    for index, given in enumerate(manifest.functions):
        name = given.get("name") if isinstance(given, dict) else None
        if isinstance(name, str):
            if name in names:
                yield f"functions[{index}].name: {name!r:.80} is the name of another function"
            names.add(name)


def _entry_point(manifest: _Manifest, folder: Path, problems: list[str]) -> Path:
    code = folder / manifest.entry_point
    try:
        code = code.resolve()
        is_file = code.is_file()
    except (OSError, ValueError):  # too long, or contains a NUL
        is_file = False
    if code.suffix != ".py" or not code.is_relative_to(folder):
        problems.append(
            f"entry_point: expected a Python file below {folder.name}/, "
            f"got {manifest.entry_point!r:.200}"
        )
    elif not is_file:
        problems.append(f"entry_point: there is no file {manifest.entry_point!r:.200}")
    return code


def _read_function(
    given: object, where: str, source: Source, problems: list[str]
) -> ManifestFunction | None:
    declared = _read(_Declared, given, where, problems)
    if declared is None:
        return None
    before = len(problems)
    if not (declared.name.isidentifier() and is_run_id(declared.name)):
        problems.append(f"{where}.name: expected a Python name, got {declared.name!r:.80}")
    parameters = list(_read_parameters(declared.parameters, f"{where}.parameters", problems))
    secrets = list(_read_secrets(declared.secrets, f"{where}.secrets", problems))
    try:
        files = parse_file_groups(declared.files)
    except InvalidValue as error:
        problems.extend(f"{where}.{problem}" for problem in error.message.split("; "))
    try:
        budget = checked_budget(declared.name, declared.max_tokens, declared.max_cost)
    except InvalidValue as error:
        problems.append(f"{where}: {error.message}")
    if len(problems) > before:
        return None
    return ManifestFunction(
        declared.name,
        source,
        parameters,
        description=declared.description,
        is_streaming=declared.streaming,
        secrets=secrets,
        files=files,
        store_inputs=declared.store_inputs,
        preload=declared.preload,
        budget=budget,
    )


def _read_parameters(
    declared: Sequence[object], where: str, problems: list[str]
) -> Iterator[Parameter]:
    names: set[str] = set()
    for index, given in enumerate(declared):
        place = f"{where}[{index}]"
        read = _read(_Input, given, place, problems)
        if read is None:
            continue
        if not read.name.isidentifier():
            problems.append(f"{place}.name: expected a Python name, got {read.name!r:.80}")
        if read.name in names:
            problems.append(f"{place}.name: {read.name!r:.80} is the name of another parameter")
        names.add(read.name)
        yield _parameter(read, place, problems)


def _parameter(read: _Input, where: str, problems: list[str]) -> Parameter:
    kind = _TYPES[read.type]
    for index, member in enumerate(read.enum or ()):
        if not _is_a(member, kind):
            problems.append(f"{where}.enum[{index}]: expected {read.type}, got {member!r:.80}")
    if read.enum:
        kind = Literal[tuple(read.enum)]
    has_default = read.default is not msgspec.UNSET
    if has_default and read.default is not None and not _is_a(read.default, kind):
        wanted = f"one of {read.enum}" if read.enum else read.type
        problems.append(f"{where}.default: expected {wanted}, got {read.default!r:.80}")
    schema: dict[str, Any] = {"type": "string" if read.type.endswith("File") else read.type}
    if read.description:
        schema["description"] = read.description
    if read.enum:
        schema["enum"] = read.enum
    if has_default:
        schema["default"] = read.default
    required = read.required and not has_default
    return Parameter(read.name, kind if required else kind | None, required, None, schema)


def _is_a(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _read_secrets(declared: Sequence[object], where: str, problems: list[str]) -> Iterator[Secret]:
    names: set[str] = set()
    for index, given in enumerate(declared):
        place = f"{where}[{index}]"
        read = _read(_Secret, given, place, problems)
        if read is None:
            continue
        if not _SECRET.fullmatch(read.name):
            problems.append(f"{place}.name: expected one like 'API_KEY', got {read.name!r:.80}")
        if read.name in names:
            problems.append(f"{place}.name: {read.name!r:.80} is the name of another secret")
        names.add(read.name)
        yield Secret(read.name, read.description, read.required)
