"""Which tests are run, and on which interpreters: those that a machine has of the named ones."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

OTHERS = [
    version
    for version in ("3.11", "3.12", "3.13", "3.14")
    if version != f"{sys.version_info.major}.{sys.version_info.minor}"
]
pytestmark = pytest.mark.tree


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python: `bin` is its path, `pyenv` where pyenv keeps versions."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("PYENV_ROOT", f"{tmp_path}/pyenv")
    return tmp_path


def python(path: Path, told: str, code: int = 0) -> Path:
    """Make a program that calls itself a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {told}\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_an_interpreter_that_is_not_there_is_listed(dev: ModuleType, machine: Path) -> None:
    assert dev.other_interpreters() == dict.fromkeys(OTHERS)


@pytest.mark.parametrize("version", OTHERS)
def test_an_interpreter_is_found_on_the_path(dev: ModuleType, machine: Path, version: str) -> None:
    expected = python(machine / "bin" / f"python{version}", f"cpython {version}")

    assert dev.other_interpreters()[version] == expected


@pytest.mark.parametrize("version", OTHERS)
def test_pyenvs_newest_is_found_though_it_is_not_chosen(
    dev: ModuleType, machine: Path, version: str
) -> None:
    python(machine / "bin" / f"python{version}", "pyenv: command not found", code=127)
    for name in (f"{version}.2", f"{version}.10", f"{version}.11t", f"{version}-dev"):
        python(machine / "pyenv/versions" / name / f"bin/python{version}", f"cpython {version}")

    expected = machine / f"pyenv/versions/{version}.10/bin/python{version}"
    assert dev.other_interpreters()[version] == expected


def test_what_is_another_python_than_it_is_called_is_not_taken(
    dev: ModuleType, machine: Path
) -> None:
    version = OTHERS[0]
    python(machine / "bin" / f"python{version}", f"pypy {version}")
    python(machine / f"pyenv/versions/{version}.1/bin/python{version}", "cpython 2.7")

    assert dev.other_interpreters()[version] is None


# --- the versions of dependencies -----------------------------------------------------------------


def test_each_dependency_is_tested_in_its_lowest_version(dev: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    *lowest, fastapi, _ = dev.direct_dependencies("lowest")
    form = re.compile(r"[a-z0-9-]+(\[[a-z]+\])?==[0-9.]+")
    assert all(form.fullmatch(each) for each in (*lowest, fastapi)), lowest
    named = [re.split("[<>=]", each)[0] for each in project["dependencies"]]
    named += ["tqdm", "rich", "redis[hiredis]"]
    assert [each.partition("==")[0] for each in lowest] == named
    assert fastapi.removeprefix("fastapi==") in (ROOT / "docs" / "support.md").read_text("utf-8")


# --- by marks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["mark.heavy", "mark.tree"])
def test_the_files_with_a_mark_are_found_by_its_text(dev: ModuleType, mark: str) -> None:
    found = dev.files_with(mark)

    assert Path("tests/browser/test_site.py") in found  # which has both
    assert Path("tests/wire/test_sse.py") not in found
    assert all(ROOT.joinpath(path).is_file() for path in found)


def test_the_files_with_properties_are_found(dev: ModuleType) -> None:
    found = dev.files_with("from hypothesis import")

    assert Path("tests/wire/test_sse.py") in found
    assert Path("tests/test_docs.py") not in found


@pytest.mark.parametrize("mark", ["mark.heavy", "mark.tree"])
def test_no_file_borrows_tests_with_a_mark_that_it_does_not_name(
    dev: ModuleType, mark: str
) -> None:
    """Or `files_with` would not find the file."""
    marked = dev.files_with(mark)
    modules = {".".join(path.with_suffix("").parts) for path in marked}

    borrowers = [
        path
        for path in ROOT.joinpath("tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module in modules
        if any(name.name.startswith(("test_", "pytestmark")) for name in node.names)
    ]

    assert [path for path in borrowers if path.relative_to(ROOT) not in marked] == []
