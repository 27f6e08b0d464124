"""Ctrl-C in a script: real processes, real signals, and what their stores have afterwards."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runcast
from runcast.events.model import Event
from tests.environment import environment
from tests.waiting import START_S, WAIT_S

SCRIPT = Path(__file__).with_name("interrupted.py")

SIGINT_ENDED_IT = -signal.SIGINT
"""The code of a process that SIGINT ended; a shell has 130 for it."""


def interrupt(how: str, store: str) -> tuple[int, str, str]:
    """Start a script, press Ctrl-C once its run has begun; return its code and what it printed.

    Runs get an hour to end by themselves when the hub is closed, and another one once they are
    cancelled, so that a script which waits for either does not end in time.
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, how, store],
        env=environment({"RUNCAST_SHUTDOWN_GRACE_S": "3600", "RUNCAST_CANCEL_GRACE_S": "3600"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a Ctrl-C of the terminal does not reach the test
    )
    guard = threading.Timer(START_S, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == "begun\n", process.communicate(timeout=WAIT_S)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT_S)
        return process.returncode, out, err
    finally:
        guard.cancel()
        process.kill()
        process.communicate(timeout=WAIT_S)


def events_in(store: str) -> list[Event]:
    with runcast.open_hub(store) as hub:
        assert hub.info("r").closed
        return list(hub.watch("r"))


SCRIPTS = [
    "a_coroutine",
    "a_coroutine_with_a_thread",
    "a_coroutine_that_is_leaving",
    "a_thread",
    "a_thread_with_a_coroutine",
    "a_thread_that_is_leaving",
    "a_thread_that_cleans_up_for_a_while",
    "a_thread_with_a_process",
    "a_process_that_never_emits",
    "a_process_that_misses_its_signal",
    "a_process_that_cleans_up_for_a_while",
    "a_process_with_a_coroutine",
    "a_block",
    "an_async_block",
    "an_async_block_in_a_hub",
]


@pytest.mark.parametrize("how", SCRIPTS)
def test_ctrl_c_ends_a_script_at_once_and_keeps_the_last_words(how: str, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"

    code, out, complaint = interrupt(how, store)

    assert code == SIGINT_ENDED_IT, complaint
    assert complaint.splitlines()[-1] == "KeyboardInterrupt"
    *_, said, end = events_in(store)
    assert (said.type, said.data.get("message")) == ("log", "cleaned up"), complaint
    assert (end.type, end.data) == ("cancelled", {"reason": "interrupted"})
    assert out in ("cleaned up\n", "")  # a process has its own output


def test_a_process_is_interrupted_as_by_a_terminal(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"

    interrupt("a_process_that_never_emits", store)

    said = [event.data["message"] for event in events_in(store) if event.type == "log"]
    assert said == ["caught", "cleaned up"]


def test_a_thread_that_never_emits_is_left(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"

    code, _, complaint = interrupt("a_thread_that_never_emits", store)

    assert code == SIGINT_ENDED_IT, complaint
    end = events_in(store)[-1]
    assert (end.type, end.data) == ("cancelled", {"reason": "interrupted"})


def test_a_task_that_is_cancelled_otherwise_is_not_called_interrupted(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"

    ended = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "a_task_that_is_cancelled", store],
        env=environment({"RUNCAST_SHUTDOWN_GRACE_S": "0"}),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert events_in(store)[-1].data == {"reason": "the server shut down"}
