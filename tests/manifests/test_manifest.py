"""Reading manifests: everything that is wrong with one is told, with its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from runcast._functions.manifest import (
    InvalidManifest,
    ManifestFunction,
    load_manifest,
    parse_manifest,
)
from runcast.errors import InvalidInputs, InvalidValue
from tests.manifests.writing import declare, parameter, write_manifest

CODE = "def f(a, b=1): yield a\ndef g(): return 1\n"


def problems_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidManifest) as raised:
        load_manifest(folder)
    assert all(problem in raised.value.message for problem in raised.value.problems)
    return raised.value.problems


def load_one(folder: Path, *parameters: dict[str, Any], **more: Any) -> ManifestFunction:
    """Load a function that takes whatever is declared."""
    names = ", ".join(each["name"] + ("=None" if "default" in each else "") for each in parameters)
    code = f"def f(*, {names}): yield 1" if names else "def f(): yield 1"
    (function,) = load_manifest(write_manifest(folder, code, declare("f", *parameters, **more)))
    return function


# --- files ----------------------------------------------------------------------------------------


def test_a_manifest_is_found_by_its_folder_or_by_itself(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path, CODE, declare("f", parameter("a", "string")))
    for path in (folder, folder / "prefab-manifest.json", str(folder)):
        assert [function.name for function in load_manifest(path)] == ["f"]


def test_a_manifest_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "other.json"):
        with pytest.raises(InvalidValue, match=r"cannot read .* No such file"):
            load_manifest(path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON: line 1, column 1"),
        ('{\n  "functions": [,]\n}', "is not JSON: line 2, column 17"),
        ('{\n // a comment\n "functions": oops}', "is not JSON: line 3, column 15"),
        ('{"functions": NaN}', "JSON, which has no NaN"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 101 + "]" * 101, "nested too deeply"),
        ('{"functions": [], "name": "\\ud800"}', "surrogates not allowed"),
        ('{"functions": [%s]}' % ("1" * 5000), "Exceeds the limit"),
        ("[]", "the manifest: expected an object"),
        ("{}", "functions: required, not given"),
        ('{"functions": {}}', "functions: expected `array`, got `object`"),
        ('{"functions": []}', "functions: expected at least one"),
        ('{"functions": [], "functions": [5]}', "functions is given twice"),
        ('{"functions": [5]}', "functions[0]: expected an object"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    write_manifest(tmp_path, CODE)
    with pytest.raises(InvalidManifest) as raised:
        parse_manifest(text, tmp_path / "prefab-manifest.json")
    assert problem in raised.value.message


def test_a_large_manifest_is_read_in_time_that_grows_with_it(tmp_path: Path) -> None:
    """Comparing each of its names with each other would take longer than a test may."""
    default = {f"k{number}": number for number in range(100_000)}
    declared = declare("f", parameter("a", "object", default=default))

    (found,) = load_manifest(write_manifest(tmp_path, CODE, declared))

    assert found.check({})["a"] == default


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prefab-manifest.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InvalidManifest, match="UTF-8"):
        load_manifest(tmp_path)


# --- what it declares -----------------------------------------------------------------------------


def test_every_problem_is_told_with_its_path(tmp_path: Path) -> None:
    folder = write_manifest(
        tmp_path,
        CODE,
        declare(
            "f",
            {"name": "a", "type": "text"},
            {"type": "string"},
            parameter("a b", "string"),
            parameter("n", "integer", enum=["one", 2], default=5),
            parameter("m", "boolean", default="yes", requird=True),
            parameter("m", "string", required="no"),
            secrets=[{"name": "lower"}, {"name": "KEY"}, {"name": "KEY"}, 5],
            files={"in put": {"type": "array"}, "x": {"type": "InputFile"}},
        ),
        {"streaming": True},
        declare("f", streaming="yes"),
        declare("not a name"),
        id="Not An Id",
        version="1",
        schema_version="2.0",
    )
    found = problems_of(folder)
    for path in (
        *(
            "id:",
            "version:",
            "schema_version:",
            "functions[1].name: required",
            "functions[2].name:",
        ),
        *("functions[0].parameters[0].type:", "functions[0].parameters[1].name: required"),
        *("functions[0].parameters[2].name:", "functions[0].parameters[3].enum[0]:"),
        *("functions[0].parameters[3].default:", "functions[0].parameters[4].requird: unknown"),
        *("functions[0].parameters[5].required:", "functions[0].secrets[0].name:"),
        *("functions[0].secrets[2].name:", "functions[0].secrets[3]: expected an object"),
        *("functions[0].files.x:", "functions[2].streaming:", "functions[3].name:"),
    ):
        assert any(problem.startswith(path) for problem in found), (path, found)


@pytest.mark.parametrize(
    ("entry_point", "problem"),
    [
        ("src/other.py", "there is no file"),
        ("../main.py", "expected a Python file below"),
        ("/etc/passwd", "expected a Python file below"),
        ("src", "expected a Python file below"),
        ("a\0.py", "there is no file"),
        ("a" * 5000 + ".py", "there is no file"),
        (5, "expected `str`, got `int`"),
    ],
)
def test_the_entry_point_is_a_python_file_of_the_folder(
    tmp_path: Path, entry_point: Any, problem: str
) -> None:
    folder = write_manifest(tmp_path / "in", CODE, declare("g"), entry_point=entry_point)
    (tmp_path / "main.py").write_text(CODE)
    (found,) = problems_of(folder)
    assert found.startswith("entry_point: ")
    assert problem in found


@pytest.mark.parametrize(
    ("code", "declared", "problem"),
    [
        ("def f(:", declare("f"), "entry_point: src/main.py, line 1:"),
        (
            "x = " + "-" * 100_000 + "1",
            declare("f"),
            "entry_point: src/main.py is nested too deeply",
        ),
        (
            "x = " + "1+" * 50_000 + "1",
            declare("f"),
            "entry_point: src/main.py is nested too deeply",
        ),
        ("def ff(): yield 1", declare("f"), "functions[0].name: src/main.py defines no 'f'"),
        ("def ff(): yield 1", declare("f"), "is 'ff' meant?"),
        ("def f(): yield 1", declare("f", parameter("a", "string")), "parameters[0].name: the fun"),
        ("def f(a): yield 1", declare("f"), "parameters: 'a' is required by the function"),
        ("def f(*, a): yield 1", declare("f"), "parameters: 'a' is required by the function"),
        ("def f(*a): yield 1", declare("f"), "parameters: expected inputs with names"),
        (
            "def f(a, /): yield 1",
            declare("f", parameter("a", "string")),
            "expected inputs with nam",
        ),
        (
            "def f(a): yield 1",
            declare("f", parameter("a", "string", required=False)),
            "parameters[0].required: false, but 'a' has no default",
        ),
        (
            "def f(a: int): yield 1",
            declare("f", parameter("a", "string")),
            "parameters[0].type: string, but 'a' is annotated int",
        ),
    ],
)
def test_code_that_differs_is_told(
    tmp_path: Path, code: str, declared: dict[str, Any], problem: str
) -> None:
    found = problems_of(write_manifest(tmp_path, code, declared))
    assert any(problem in each for each in found), found


def test_reading_a_manifest_does_not_run_its_code(tmp_path: Path) -> None:
    load_manifest(
        write_manifest(tmp_path, f"{CODE}raise SystemExit", declare("g", streaming=False))
    )


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("string", ["", "text"], [1, None, []]),
        ("number", [1, 1.5, -3], ["1", True, None]),
        ("integer", [1, -3], [1.5, True, "1", None]),
        ("boolean", [True, False], [1, "true", None]),
        ("object", [{}, {"a": [1]}], [[], "{}", None]),
        ("array", [[], [1, "a"]], [{}, "[]", None]),
        ("InputFile", ["a/b.txt"], [1]),
    ],
)
def test_inputs_have_the_type_that_is_declared(
    tmp_path: Path, kind: str, good: list[Any], bad: list[Any]
) -> None:
    function = load_one(tmp_path, parameter("a", kind))
    for value in good:
        checked = function.check({"a": value})["a"]
        assert (checked, type(checked)) == (value, type(value))
    for value in bad:
        with pytest.raises(InvalidInputs, match="a: Expected"):
            function.check({"a": value})


def test_defaults_and_enums_of_the_manifest_count(tmp_path: Path) -> None:
    function = load_one(
        tmp_path,
        parameter("size", "string", enum=["s", "m"], default="m", description="how large"),
        parameter("n", "integer", required=False, default=None),
    )
    assert function.check({}) == {"size": "m", "n": None}
    assert function.check({"size": "s", "n": 3}) == {"size": "s", "n": 3}
    with pytest.raises(InvalidInputs, match="size: expected one of 's', 'm'"):
        function.check({"size": "l"})
    assert function.schema == {
        "type": "object",
        "properties": {
            "size": {
                **{"type": "string", "description": "how large"},
                **{"enum": ["s", "m"], "default": "m"},
            },
            "n": {"type": "integer", "default": None},
        },
        "required": [],
        "additionalProperties": False,
    }


def test_all_problems_of_inputs_are_told_at_once(tmp_path: Path) -> None:
    function = load_one(tmp_path, parameter("a", "string"), parameter("b", "integer"))
    with pytest.raises(InvalidInputs) as raised:
        function.check({"b": "one", "c": 1})
    assert len(raised.value.problems) == 3


def test_a_function_of_a_manifest_is_not_called_here(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="runs in its own process"):
        load_one(tmp_path)()


def test_fields_of_the_platform_are_left_alone(tmp_path: Path) -> None:
    folder = write_manifest(
        tmp_path,
        CODE,
        declare("g", streaming=False, returns={"type": "object"}),
        **{"name": "A", "tags": ["a"], "github_url": "", "execution_environment": {"cpu": "1"}},
        **{"version": "1.0.0-rc.1", "author": "me", "dependencies_file": "pyproject.toml"},
    )
    assert json.loads((folder / "prefab-manifest.json").read_text())["tags"] == ["a"]
    assert [function.is_streaming for function in load_manifest(folder)] == [False]


def test_budgets_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    function = load_one(tmp_path / "good", max_tokens=1000, max_cost=0.5)
    assert function.budget == (1000, 0.5)

    wrong = declare("f", max_tokens=-1)
    write_manifest(tmp_path / "wrong", "def f(): yield 1", wrong)
    (problem,) = problems_of(tmp_path / "wrong")
    assert problem == "functions[0]: expected max_tokens of 'f' to be 0 or more: -1"
