"""`runcast doctor`: what it finds, and how it tells."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runcast.cli import main
from tests.cli.served import run, serve

GOOD = '''
import runcast

@runcast.function
def count(n: int = 2):
    """Count to n."""
    for number in range(1, n + 1):
        yield {"type": "progress", "data": {"percent": 100 * number // n}}

@runcast.function
def backwards():
    """Tell a percentage that falls."""
    yield {"type": "progress", "data": {"percent": 90}}
    yield {"type": "progress", "data": {"percent": 10}}

@runcast.function
def silent(thing):
    return thing

@runcast.function
def fail():
    """Fail."""
    raise runcast.RunFailed("the disk is on fire", "fire")
'''


Find = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Find]:
    """Runs the command here and returns its exit code and what it found."""
    (tmp_path / "work.py").write_text(GOOD, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def find(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code = main(["doctor", "--json", "--port", "0", *arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, [json.loads(line) for line in printed.out.splitlines()]

    yield find
    sys.modules.pop("work", None)  # other tests have modules of that name


def told(found: list[dict[str, Any]], check: str, level: str) -> str:
    return "\n".join(
        each["told"] for each in found if (each["check"], each["level"]) == (check, level)
    )


def test_all_is_well(findings: Find, tmp_path: Path) -> None:
    code, found = findings("work.py", "--run", "count", "--input", "n=3")

    assert code == 0
    assert [each for each in found if each["level"] == "fail"] == []
    assert told(found, "store", "ok").startswith("sqlite:///.runcast/runs.db opens and can be")
    assert told(found, "function count", "ok") == "streams; takes n"
    assert "the last is done" in told(found, "run of count", "ok")
    assert "no docstring" in told(found, "function silent", "warn")
    assert "annotate" in told(found, "function silent", "warn")
    assert {each.name for each in tmp_path.iterdir()} == {"work.py"}


def test_it_is_told_in_lines_for_people(tmp_path: Path) -> None:
    ended = run("doctor", "--port", "0", "--store", "memory://", cwd=tmp_path)

    assert ended.returncode == 0
    assert {line[:4].strip() for line in ended.stdout.splitlines()} <= {"ok", "warn"}
    assert "runs are in memory" in ended.stdout


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("backwards", "10"),
        ("fail", "the disk is on fire"),
        ("silent", "inputs: thing: required, not given"),
        ("nothing", "there is no function 'nothing'"),
    ],
)
def test_a_dry_run_tells_what_is_wrong(findings: Find, function: str, problem: str) -> None:
    code, found = findings("work.py", "--run", function)

    assert code == 1
    assert problem in told(found, f"run of {function}", "fail")


@pytest.mark.parametrize("target", ["nowhere.py", "broken.py", "os:sep"])
def test_a_target_that_cannot_be_served_is_a_finding(
    findings: Find, tmp_path: Path, target: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0", "utf-8")

    code, found = findings(target)

    assert code == 1
    assert told(found, "target", "fail")
    assert told(found, "store", "ok")


def test_every_problem_of_a_manifest_is_a_finding(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def greet(name):\n    yield {}\n", "utf-8")
    (tmp_path / "prefab-manifest.json").write_text(
        json.dumps(
            {
                "schema_version": "1.0",
                "id": "greeter",
                "version": "1.0.0",
                "name": "Greeter",
                "entry_point": "main.py",
                "functions": [
                    {"name": "greet", "description": "x", "parameters": [], "streaming": False},
                    {"name": "other", "description": "x", "parameters": []},
                ],
            }
        ),
        "utf-8",
    )

    code, found = findings("prefab-manifest.json")

    assert code == 1
    problems = told(found, "target", "fail").splitlines()
    assert any("streaming" in problem for problem in problems), problems
    assert any("other" in problem for problem in problems), problems


def test_a_store_that_cannot_be_used_is_a_finding(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"this is no database" * 100)

    for store in ("sqlite:///runs.db", "postgres://x", "sqlite:////proc/none/runs.db"):
        code, found = findings("--store", store)
        assert code == 1
        assert store in told(found, "store", "fail")


def test_a_store_in_use_is_tried_and_left_as_it_is(findings: Find, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    with serve("--store", store, cwd=tmp_path) as server:
        server.start("count_primes", "a", limit=10)
        code, found = findings("--store", store)

        assert (code, told(found, "store", "ok") != "") == (0, True)
        runs = server.ask("GET", "/runs").json["runs"]
        assert [each["run_id"] for each in runs] == ["a"]


def test_a_port_that_is_taken_is_a_finding(findings: Find, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, found = findings("--port", str(other.getsockname()[1]))
        assert code == 1
        assert told(found, "port", "fail")
    with serve("--store", "memory://", cwd=tmp_path) as server:
        code, found = findings("--port", str(server.port))
        assert code == 0
        assert "answers at" in told(found, "port", "warn")


def test_settings_that_are_wrong_are_a_finding(
    findings: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCAST_THREADS", "many")

    code, found = findings()

    assert code == 1
    assert "RUNCAST_THREADS" in told(found, "settings", "fail")
