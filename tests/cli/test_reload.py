"""`runcast serve --reload`, as a developer has it: a file is saved, and its new code is served."""

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tests.environment import environment
from tests.waiting import WAIT_S

ONE = "import runcast\n\n@runcast.function\ndef one() -> int:\n    return 1\n"
TWO = "\n@runcast.function\ndef two() -> int:\n    return 2\n"


def test_a_saved_change_is_served_and_ctrl_c_ends_both_processes(tmp_path: Path) -> None:
    target = tmp_path / "work.py"
    target.write_text(ONE)
    command = [sys.executable, "-m", "runcast", "serve", "work.py", "--port", "0", "--reload"]
    with subprocess.Popen(
        [*command, "--store", "memory://"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        guard = threading.Timer(2 * WAIT_S, process.kill)
        guard.start()
        try:
            first = _functions(process)
            target.write_text(ONE + TWO)
            second = _functions(process)
            # A terminal's Ctrl-C reaches every process of its foreground group.
            os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=2 * WAIT_S)
        finally:
            guard.cancel()
            process.kill()

    assert '"one"' in first
    assert '"two"' not in first
    assert '"two"' in second
    assert process.returncode == 130
    assert "Traceback" not in said


def _functions(process: subprocess.Popen[str]) -> str:
    """Wait until a server says where it listens, and return its functions."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"listening on (\S+)", line):
            with urllib.request.urlopen(f"{found[1]}/functions", timeout=WAIT_S) as answer:
                return str(answer.read().decode())
    raise AssertionError("it ended without serving")
