"""`runcast run --url`: a script streams into a running server, and behaves as with a store."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import test_run
from tests.cli.served import Served, serve

# The same tests as with a store, here with the server of the fixture below.
from tests.cli.test_run import (
    RUNCAST,
    events_of,
    finish,
    first_line,
    logs_of,
    pytestmark,
    run,
    script,
    started,
    test_a_script_that_knows_runcast_writes_to_its_run,
    test_a_watcher_answers_input,
    test_a_watcher_cancels_and_the_script_cleans_up,
    test_everything_is_recorded_once_and_in_the_order_it_was_written,
    test_signals_reach_the_script_and_end_us_in_the_same_way,
    test_the_person_at_the_terminal_answers_input_as_ever,
    test_the_terminal_shows_the_line_of_a_watcher_as_if_it_had_been_typed,
)
from tests.waiting import WAIT_S

__all__ = (
    "pytestmark",
    "test_a_script_that_knows_runcast_writes_to_its_run",
    "test_a_watcher_answers_input",
    "test_a_watcher_cancels_and_the_script_cleans_up",
    "test_everything_is_recorded_once_and_in_the_order_it_was_written",
    "test_signals_reach_the_script_and_end_us_in_the_same_way",
    "test_the_person_at_the_terminal_answers_input_as_ever",
    "test_the_terminal_shows_the_line_of_a_watcher_as_if_it_had_been_typed",
)

LEASE = {"RUNCAST_LEASE_S": "1"}


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    store = f"sqlite:///{tmp_path}/runs.db"
    with serve("--store", store, cwd=tmp_path, env=LEASE) as served:
        monkeypatch.setattr(test_run, "KEPT", ("--url", served.url))
        yield served


def test_it_says_where_the_run_is(tmp_path: Path, server: Served) -> None:
    name = script(tmp_path, "print('hello')")
    ended = finish([RUNCAST, "run", "--url", server.url, "--run-id", "r1", name], tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "hello\n")
    assert ended.stderr == f"runcast: run r1: {server.url}/#/runs/r1\n"


def test_a_script_that_fails_has_failed(tmp_path: Path) -> None:
    ended = run(tmp_path, script(tmp_path, "raise SystemExit(3)"))
    assert ended.returncode == 3
    end = events_of(tmp_path)[-1]
    assert (end.type, end.data["code"]) == ("failed", "exit_code")


def test_without_its_server_no_script_is_run(tmp_path: Path) -> None:
    name = script(tmp_path, "print('hello')")
    ended = finish([RUNCAST, "run", "--url", "http://127.0.0.1:1", name], tmp_path)
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "no server answers at http://127.0.0.1:1" in ended.stderr


def test_a_store_and_a_server_are_too_much(tmp_path: Path, server: Served) -> None:
    words = [RUNCAST, "run", "--store", "memory://", "--url", server.url, "x.py"]
    assert finish(words, tmp_path).returncode == 2


def test_a_script_goes_on_while_its_server_is_restarted(tmp_path: Path, server: Served) -> None:
    name = script(tmp_path, "for n in range(3):\n    input()\n    print(n, flush=True)")
    store = f"sqlite:///{tmp_path}/runs.db"
    with started(tmp_path, name, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert first_line(process) == "0"
        server.end(signal.SIGKILL)
        process.stdin.write("\n")
        process.stdin.flush()
        assert first_line(process) == "1"
        with serve("--store", store, cwd=tmp_path, env=LEASE, port=server.port):
            process.stdin.write("\n")
            process.stdin.flush()
            assert first_line(process) == "2"
            assert process.wait(2 * WAIT_S) == 0
    events = events_of(tmp_path)
    assert [message for _, _, message in logs_of(events)] == ["0", "1", "2"]
    assert events[-1].type == "done"


def test_if_the_server_is_gone_the_exit_code_stays(tmp_path: Path, server: Served) -> None:
    name = script(tmp_path, "print('begun', flush=True)\ninput()\nprint('end')\nexit(3)")
    words = ["env", "RUNCAST_EMIT_WAIT_S=0.2", *test_run.command(name)]
    with started(tmp_path, words=words, stdin=subprocess.PIPE) as process:
        assert first_line(process) == "begun"
        server.end(signal.SIGKILL)
        out, err = process.communicate("\n", timeout=2 * WAIT_S)
    assert (process.returncode, out) == (3, "end\n")
    assert "could not be stored" in err


def test_if_we_are_killed_the_run_is_lost(tmp_path: Path, server: Served) -> None:
    name = script(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    with started(tmp_path, "--run-id", "r1", name) as process:
        handle = os.pidfd_open(int(first_line(process)))
        process.kill()
        with server.open("GET", "/runs/r1/events") as response:
            body = response.read()
        has_ended, _, _ = select.select([handle], [], [], WAIT_S)
        os.close(handle)
    assert b'"code":"lost"' in body
    assert has_ended
