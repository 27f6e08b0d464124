"""What a target names, and the inputs that are made up to try it."""

import os
import sys
from collections.abc import Iterator
from datetime import date, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

import runcast
from runcast._cli import main
from runcast._cli.example import example_inputs, pick_example
from runcast._cli.serve import announcement
from runcast._cli.target import load_target
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.demo import FUNCTIONS
from runcast.errors import InvalidValue

WORK = """
import runcast

@runcast.function
def first(): ...

@runcast.function(name="second")
def other(): ...

def plain(): ...

again = first
both = [plain, first]
named = {"one": plain, "two": first}
TEXT = "text"

class space:
    inner = plain
"""


@pytest.fixture(autouse=True)
def imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let each test import anew, from a folder of its own."""
    (tmp_path / "work.py").write_text(WORK, "utf-8")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("RUNCAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def names(target: str) -> list[str]:
    return [function.name for function in load_target(target)]


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("work.py", ["first", "second"]),
        ("./work.py", ["first", "second"]),
        ("work:first", ["first"]),
        ("work:plain", ["plain"]),
        ("work:both", ["plain", "first"]),
        ("work:named", ["one", "two"]),
        ("work:space.inner", ["plain"]),
        ("package.inner:deep", ["deep"]),
        ("package:inner", ["deep"]),
        ("runcast.demo:FUNCTIONS", [function.name for function in FUNCTIONS]),
    ],
)
def test_functions_are_found(tmp_path: Path, target: str, found: list[str]) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from package import inner\n", "utf-8")
    (tmp_path / "package" / "inner.py").write_text(
        "import runcast\n@runcast.function\ndef deep(): ...\n", "utf-8"
    )

    assert names(target) == found


def test_a_file_imports_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text(WORK, "utf-8")
    (tmp_path / "sub" / "main.py").write_text("from beside import first, other\n", "utf-8")

    assert names("sub/main.py") == ["first", "second"]


def test_a_file_named_like_a_module_of_python_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(WORK, "utf-8")

    assert names("json.py") == ["first", "second"]
    assert not hasattr(sys.modules["json"], "first")


def test_functions_with_annotations_of_their_own_module_are_understood(tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(
        "from __future__ import annotations\n"
        "import dataclasses, runcast\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n"
        "@runcast.function\ndef move(point: Point): ...\n",
        "utf-8",
    )

    (move,) = load_target("typed.py")

    assert example_inputs(move) == {"point": {"x": 10}}


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidValue, match="found no function in os:path"):
        load_target("os:path")
    with pytest.raises(InvalidValue, match="got int"):
        load_target("os:O_RDONLY")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.py"], "there is no file 'nope.py'"),
        (["nope"], "a manifest or its folder, or module:attribute; got 'nope'"),
        (["nope:x"], "there is no module 'nope', neither here nor installed"),
        (["work:nope"], "work has no attribute 'nope'"),
        (["work:TEXT"], "expected functions in work:TEXT, got str"),
        (["empty.py"], "found no function in empty.py; put @runcast.function above"),
        (["twice.py"], "two functions are called 'first'"),
        (["exits.py"], "exits.py ended the program while it was imported"),
        (
            ["--store", "kafka://x"],
            "expected a store like memory://, sqlite:///runs.db, redis://host",
        ),
        (["--store", "kafka://ada:T0P@x"], "got 'kafka://x'"),
        (["--store", "runs.db"], "got 'runs.db'; for a file write 'sqlite:///runs.db'"),
        (["--store", "sqlite:///empty.py/runs.db"], "cannot make the folder 'empty.py'"),
        (["--settings", "nope.toml"], "cannot read the settings 'nope.toml'"),
        (["--settings", "work.py"], "expected 'work.py' to be TOML"),
        (["--settings", "deep.toml"], "expected 'deep.toml' to be TOML"),
        (["--settings", "bad.toml"], "there is no setting 'threds' (from bad.toml); is 'threads'"),
        (["--token", "with space"], "text of ASCII characters without spaces"),
        (["--host", "0.0.0.0"], "give a --token (or RUNCAST_TOKEN), or say --insecure"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_served_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty.py").touch()
    (tmp_path / "exits.py").write_text("import sys\nsys.exit('bye')\n", "utf-8")
    (tmp_path / "bad.toml").write_text("threds = 3", "utf-8")
    (tmp_path / "deep.toml").write_text("threads = " + 5000 * "[", "utf-8")
    twice = f"{WORK}\nmore = runcast.function(name='first')(plain)\n"
    (tmp_path / "twice.py").write_text(twice, "utf-8")

    code = main(["serve", "--port", "0", *arguments])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("runcast: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_setting_that_is_misspelt_in_the_environment_is_refused() -> None:
    others = {
        "RUNCAST_PORT": "tcp://10.0.0.1:80",
        "RUNCAST_URL": "http://x",
        "runcast_threads": "1",
    }
    assert Settings.load(environ=others) == Settings()

    with pytest.raises(InvalidValue, match=r"'threds' \(from RUNCAST_THREDS\); is 'threads' meant"):
        Settings.load(environ={**others, "RUNCAST_THREDS": "4"})


def test_a_package_that_fails_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise OSError('no disk')\n", "utf-8")
    (tmp_path / "package" / "inner.py").touch()

    with pytest.raises(InvalidValue, match=r"package\.inner failed on import:\n(.*\n)*OSError: no"):
        load_target("package.inner:x")


def test_a_module_in_a_package_that_is_missing_is_missing() -> None:
    with pytest.raises(InvalidValue, match=r"there is no module 'nope\.inner'"):
        load_target("nope.inner:x")


# --- inputs to try --------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    label: str
    y: float = 0.0


class Tree(msgspec.Struct):
    value: int
    children: list["Tree"]


class Chain(msgspec.Struct):
    before: "Chain | None"


class Ring(msgspec.Struct):
    next: "Ring"


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (str, "hello world"),
        (int, 10),
        (float, 10),
        (bool, True),
        (None, None),
        (int | None, 10),
        (Literal["a", "b"], "a"),
        (Colour, "red"),
        (list[int], [10]),
        (tuple[int, str], [10, "hello world"]),
        (dict[str, int], {}),
        (Point, {"x": 10, "label": "hello world"}),
        (list[Point], [{"x": 10, "label": "hello world"}]),
        (Tree, {"value": 10, "children": []}),
        (Chain, {"before": None}),
        (Ring | int, 10),
        (date, "2026-01-31"),
        (Annotated[datetime, msgspec.Meta(tz=True)], "2026-01-31T10:00:00Z"),
        (UUID, "018f3c5e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"),
        (Annotated[int, msgspec.Meta(ge=50)], 50),
        (Annotated[int, msgspec.Meta(gt=50)], 51),
        (Annotated[int, msgspec.Meta(le=5)], 5),
        (Annotated[int, msgspec.Meta(lt=5)], 4),
        (Annotated[list[int], msgspec.Meta(min_length=2)], [10, 10]),
        (Any, "hello world"),
    ],
    ids=str,
)
def test_inputs_are_made_that_the_function_takes(kind: Any, made: object) -> None:
    def work(value, other=1): ...  # type: ignore[no-untyped-def]

    work.__annotations__["value"] = kind

    assert example_inputs(Function(work)) == {"value": made}


def test_a_path_is_one_that_is_there() -> None:
    def work(path: str) -> None: ...

    assert example_inputs(Function(work)) == {"path": __file__}
    assert example_inputs(Function(partial(work), name="partial")) is not None


def test_where_no_inputs_can_be_made_another_function_is_tried() -> None:
    @runcast.function
    def demanding(value: Annotated[str, msgspec.Meta(pattern="^[0-9]{7}$")]) -> Iterator[str]:
        yield value

    @runcast.function
    def modest(value: str) -> None: ...

    @runcast.function
    def endless(value: Ring) -> None: ...

    assert example_inputs(demanding) is None
    assert example_inputs(endless) is None
    assert pick_example([demanding, modest]) == (modest, {"value": "hello world"})
    assert pick_example([demanding]) is None
    told = announcement("http://127.0.0.1:1", [demanding], "memory://", has_token=False)
    assert "curl http://127.0.0.1:1/functions" in told


def test_a_function_that_streams_is_tried_first() -> None:
    @runcast.function
    def plain() -> None: ...

    @runcast.function
    def streams():  # type: ignore[no-untyped-def]
        yield 1

    assert pick_example([plain, streams]) == (streams, {})
    for functions, accept in (([plain], True), ([streams], False)):
        told = announcement("http://127.0.0.1:1", functions, "memory://", has_token=True)
        assert ("Accept: text/event-stream" in told) is accept
        assert '"Authorization: Bearer $RUNCAST_TOKEN"' in told


def test_what_is_printed_survives_a_shell() -> None:
    @runcast.function
    def quoted(value: Literal['it\'s; rm -rf "$HOME"']) -> Iterator[str]:
        yield value

    told = announcement("http://127.0.0.1:1", [quoted], "memory://", has_token=False)

    assert """'{"inputs": {"value": "it'"'"'s; rm -rf \\"$HOME\\""}}'""" in told
