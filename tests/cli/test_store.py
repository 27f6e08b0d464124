"""Commands on a store instead of a server: the runs belong to another process, which goes on."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, frames, serve

TARGET = """
import runcast

@runcast.function
def counts(n: int):
    for number in range(n):
        runcast.progress(number + 1, n)
    return n

@runcast.function
def asks():
    answer = runcast.ask("deploy?", interrupt_id="q", args={"to": "b"})
    message = next(iter(runcast.inbox()))
    return {"answer": answer.type, "args": answer.args, "message": message.data}

@runcast.function
async def waits():
    import asyncio
    await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stored")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    (folder / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "sqlite:///runs.db", cwd=folder) as server:
        yield server


def wait_for(served: Served, run_id: str, kind: str) -> None:
    with served.open("GET", f"/runs/{run_id}/events") as response:
        assert any(json.loads(frame["data"])["type"] == kind for frame in frames(response))


def test_runs_are_listed_shown_and_watched(served: Served, folder: Path) -> None:
    served.start("counts", "c1", n=3)
    wait_for(served, "c1", "done")

    listed = run("runs", "--store", "runs.db", "--json", cwd=folder)
    shown = run("show", "c1", "--store", "sqlite:///runs.db", "--json", cwd=folder)
    watched = run("watch", "c1", "--store", "runs.db", "--json", cwd=folder)

    assert "c1" in [json.loads(line)["run_id"] for line in listed.stdout.splitlines()]
    assert json.loads(shown.stdout)["state"]["result"] == 3
    assert watched.returncode == 0, watched.stderr
    events = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [event["type"] for event in events] == ["started", *["progress"] * 3, "done"]


def test_a_run_of_another_process_is_answered_written_to_and_watched_to_its_end(
    served: Served, folder: Path
) -> None:
    served.start("asks", "a1")
    wait_for(served, "a1", "interrupt_request")
    store = ("--store", "runs.db")

    answered = run("answer", "a1", "--edit", '{"to": "c"}', *store, cwd=folder)
    late = run("answer", "a1", "q", "--reject", *store, cwd=folder)
    sent = run("send", "a1", "go on", "--id", "m1", *store, cwd=folder)
    again = run("send", "a1", "go on", "--id", "m1", *store, cwd=folder)
    watched = run("watch", "a1", *store, cwd=folder)

    assert answered.stdout == "q is answered: edit\n", answered.stderr
    assert late.returncode == 2
    assert 'q was answered before: edit {"to": "c"}' in late.stderr
    assert (sent.stdout, again.stdout) == ("m1 is sent\n", "m1 was sent before\n")
    assert watched.stdout.splitlines()[-1] == (
        'done: {"answer": "edit", "args": {"to": "c"}, "message": "go on"}'
    )


def test_a_run_of_another_process_is_cancelled_and_deleted(served: Served, folder: Path) -> None:
    served.start("waits", "w1")
    wait_for(served, "w1", "started")
    store = ("--store", "runs.db")

    ending = run("cancel", "w1", "--reason", "enough", *store, cwd=folder)
    watched = run("watch", "w1", *store, cwd=folder)
    removed = run("rm", "w1", *store, cwd=folder)
    gone = run("show", "w1", *store, cwd=folder)

    assert ending.stdout.startswith("w1 ")
    assert watched.returncode == 3
    assert watched.stdout.splitlines()[-1] == "cancelled: enough"
    assert removed.stdout == "w1\n"
    assert (gone.returncode, served.ask("GET", "/runs/w1").status) == (2, 404)


@pytest.mark.parametrize(
    ("store", "problem"),
    [
        ("none.db", "there is no store 'none.db'"),
        ("memory://", "got one in memory"),
        ("odd://x", "expected a store like"),
        ("target.py", "target.py"),
    ],
)
def test_what_is_not_a_store_is_said_in_one_line_and_nothing_is_made(
    served: Served, folder: Path, store: str, problem: str
) -> None:
    before = sorted(os.listdir(folder))

    told = run("runs", "--store", store, cwd=folder)

    assert told.returncode == 2, told
    assert problem in told.stderr
    assert told.stderr.count("\n") == 1
    assert sorted(os.listdir(folder)) == before


def test_a_store_has_no_functions_to_invoke(tmp_path: Path) -> None:
    said = run("invoke", "--store", "my runs.db", "counts", cwd=tmp_path)

    assert said.returncode == 2
    assert "`runcast serve FILE.py --store 'my runs.db'`" in said.stderr
    assert said.stderr.count("\n") == 1


def test_a_server_and_a_store_are_not_both_named(tmp_path: Path) -> None:
    told = run("runs", "--store", "x", "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert told.returncode == 2
    assert "not allowed with" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("watch", "../.."), "expected the id of a run like 'report-7', as `runs` lists them, got"),
        (("show", "a b"), "expected the id of a run"),
        (("runs", "--label", "x"), "expected --label NAME=VALUE, like --label user=ada, got 'x'"),
        (("runs", "--label", "=x"), "expected --label NAME=VALUE"),
        (("runs", "--status", "odd"), "expected status to be one of"),
        (("runs", "--limit", "0"), "expected a limit of at least 1, got 0"),
    ],
)
def test_what_is_malformed_is_said_with_what_was_expected(
    served: Served, folder: Path, arguments: tuple[str, ...], problem: str
) -> None:
    for place in (("--store", "runs.db"), ("--url", served.url)):
        told = run(*arguments, *place, cwd=folder)

        assert told.returncode == 2
        assert problem in told.stderr
        assert told.stderr.count("\n") == 1
