"""The files that a function takes and makes, as declared in its manifest.

    "files": {
      "video":  {"type": "array", "items": {"type": "InputFile"}, "minItems": 1, "maxItems": 1},
      "output": {"type": "array", "items": {"type": "OutputFile"}, "required": true}
    }

Files of an input group are in `data/inputs/<key>/`. If `input` is the only group, its files are
also in `data/inputs/` itself. Files of an output group are in `data/outputs/<key>/`; a single
output group has all files in `data/outputs/`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from runcast.errors import InvalidInputs, InvalidValue

__all__ = (
    "FileGroup",
    "check_inputs",
    "check_key",
    "check_outputs",
    "group_of",
    "parse_file_groups",
)

_Kind = Literal["input", "output"]

_KEY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_KINDS: Final[Mapping[object, _Kind]] = {"InputFile": "input", "OutputFile": "output"}
_KNOWN: Final = frozenset({"type", "items", "description", "required", "minItems", "maxItems"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FileGroup:
    """One group of files. `most` is None if the number is unlimited."""

    key: str
    kind: _Kind
    description: str = ""
    required: bool = True
    least: int = 0
    most: int | None = None

    @property
    def fewest(self) -> int:
        """Least number of files."""
        return max(self.least, 1) if self.required else 0

    def problem(self, count: int) -> str:
        """Return the error for this number of files, or ""."""
        least = self.least if count and not self.required else self.fewest
        if count < least:
            return f"{self.key}: expected {least} or more files, got {count}"
        if self.most is not None and count > self.most:
            return f"{self.key}: expected at most {self.most} files, got {count}"
        return ""


def parse_file_groups(declared: object) -> dict[str, FileGroup]:
    """Return the groups declared in the `files` of a manifest's function.

    `required` is true by default, as for parameters.

    Raises:
        InvalidValue: names every error.
    """
    if not isinstance(declared, Mapping):
        raise InvalidValue(f"expected files to be an object, got {type(declared).__name__}")
    groups: dict[str, FileGroup] = {}
    problems: list[str] = []
    for key, fields in declared.items():
        try:
            groups[key] = _parse_group(key, fields)
        except InvalidValue as error:
            problems.append(error.message)
    if problems:
        raise InvalidValue("; ".join(problems))
    return groups


def _parse_group(key: str, fields: Any) -> FileGroup:
    check_key(key)
    if not isinstance(fields, Mapping):
        raise InvalidValue(f"files.{key}: expected an object")
    if strange := sorted(set(fields) - _KNOWN):
        raise InvalidValue(f"files.{key}: unknown {', '.join(strange)}")
    items = fields.get("items")
    kind = _KINDS.get(items.get("type")) if isinstance(items, Mapping) else None
    if fields.get("type") != "array" or kind is None:
        raise InvalidValue(
            f'files.{key}: expected {{"type": "array", "items": {{"type": "InputFile"}}}}, or '
            "OutputFile"
        )
    required = fields.get("required", True)
    if not isinstance(required, bool):
        raise InvalidValue(f"files.{key}.required: expected true or false")
    least, most = fields.get("minItems", 0), fields.get("maxItems")
    for name, value in (("minItems", least), ("maxItems", 0 if most is None else most)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidValue(f"files.{key}.{name}: expected a number of files, got {value!r:.80}")
    if most is not None and most < least:
        raise InvalidValue(f"files.{key}: expected minItems <= maxItems, got {least} and {most}")
    description = str(fields.get("description", ""))
    return FileGroup(
        key=key, kind=kind, description=description, required=required, least=least, most=most
    )


def check_key(key: object) -> str:
    """Return the name of a group. Raises `InvalidValue`."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidValue(f"expected a group of files to be called like 'input', got {key!r:.80}")
    return key


def check_inputs(groups: Mapping[str, FileGroup], counts: Mapping[str, int]) -> None:
    """Check the given files against the declared groups; without groups, any files are allowed.

    Raises:
        InvalidInputs: names every error.
    """
    inputs = {key: group for key, group in groups.items() if group.kind == "input"}
    if not groups:
        return
    problems = [group.problem(counts.get(key, 0)) for key, group in inputs.items()]
    problems += [f"{key}: there is no such group of files" for key in counts if key not in inputs]
    found = [f"files.{problem}" for problem in problems if problem]
    if found:
        raise InvalidInputs.naming(found, "the files", inputs)


def group_of(groups: Mapping[str, FileGroup], path: str) -> str:
    """Return the key of the output group of a path under `data/outputs`, or ""."""
    outputs = [group.key for group in groups.values() if group.kind == "output"]
    first, slash, _ = path.partition("/")
    if slash and first in outputs:
        return first
    return outputs[0] if len(outputs) == 1 else ""


def check_outputs(groups: Mapping[str, FileGroup], keys: Iterable[str]) -> list[str]:
    """Return the errors of a run's outputs, given the key of each file."""
    found = list(keys)
    outputs = (group for group in groups.values() if group.kind == "output")
    return [problem for group in outputs if (problem := group.problem(found.count(group.key)))]
