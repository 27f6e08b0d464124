"""Who sees the traceback of a function that failed: `runcast serve --debug`'s own machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, serve

FUNCTIONS = """
import runcast

@runcast.function
def fails():
    key = "hunter2"
    raise KeyError("the key")

@runcast.function
def says():
    raise runcast.RunFailed("no rows", "empty")

@runcast.function(isolation="process")
def fails_apart():
    raise KeyError("the key")
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


@pytest.fixture
def debugged(work: Path) -> Iterator[Served]:
    with serve("functions.py", "--debug", cwd=work) as served:
        yield served


@pytest.mark.parametrize("function", ["fails", "fails_apart"])
def test_in_debug_mode_the_terminal_shows_the_traceback(
    debugged: Served, work: Path, function: str
) -> None:
    shown = run("invoke", function, "--url", debugged.url, cwd=work)

    assert shown.returncode == 1, shown
    assert "failed (function_error): the function raised KeyError" in shown.stdout
    *_, where, line, said = shown.stderr.splitlines()
    assert (line.strip(), said) == ('raise KeyError("the key")', "KeyError: 'the key'")
    assert f"in {function}" in where
    assert "_workers" not in shown.stderr


def test_without_debug_it_says_where_the_traceback_is(work: Path) -> None:
    with serve("functions.py", cwd=work) as served:
        shown = run("invoke", "fails", "--run-id", "r", "--url", served.url, cwd=work)
        answer = served.ask("GET", "/runs/r")
        _, _, log = served.end()

    assert shown.stderr == "the log of the server has the traceback, under the run id r\n"
    assert "traceback" not in answer.json
    assert "the key" not in answer.body.decode()
    assert "the function of run r raised" in log
    assert "KeyError: 'the key'" in log


def test_what_a_function_says_itself_needs_no_traceback(work: Path) -> None:
    with serve("functions.py", cwd=work) as served:
        shown = run("invoke", "says", "--url", served.url, cwd=work)

    assert "no rows" in shown.stdout
    assert shown.stderr == ""


def test_no_event_and_no_json_has_the_traceback(debugged: Served, work: Path) -> None:
    shown = run("invoke", "fails", "--run-id", "r", "--json", "--url", debugged.url, cwd=work)

    assert shown.stderr == ""
    assert json.loads(shown.stdout.splitlines()[-1])["data"] == {
        "message": "the function raised KeyError",
        "code": "function_error",
        "retryable": False,
    }
    assert "the key" not in debugged.ask("GET", "/runs/r/events?live=false").body.decode()


FROM_A_PROXY = (
    {"X-Forwarded-For": "203.0.113.9"},
    {"Forwarded": "for=203.0.113.9"},
    {"X-Real-IP": "203.0.113.9"},
    {"Via": "1.1 proxy"},
    {"Host": "app.example"},
)


def test_what_came_by_way_of_a_proxy_gets_no_traceback(work: Path) -> None:
    with serve("functions.py", "--debug", "--allow-host", "app.example", cwd=work) as served:
        assert served.ask("POST", "/invoke/fails", {"inputs": {}, "run_id": "r"}).status == 500
        near = served.ask("GET", "/runs/r")
        far = [served.ask("GET", "/runs/r", headers=each) for each in FROM_A_PROXY]

    assert near.json["traceback"].endswith("\nKeyError: 'the key'")
    assert [answer.status for answer in far] == [200] * len(FROM_A_PROXY)
    assert "the key" not in "".join(answer.body.decode() for answer in far)


def test_debug_is_refused_where_other_machines_reach_the_server(work: Path) -> None:
    refused = run("serve", "--debug", "--host", "0.0.0.0", "--insecure", cwd=work)

    assert refused.returncode == 2
    assert "expected --debug with a loopback --host, got '0.0.0.0'" in refused.stderr
