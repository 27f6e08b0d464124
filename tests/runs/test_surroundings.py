"""A function changes something that belongs to the whole process: others' runs are none the worse.

Each change is tried in a process of its own, by `surroundings.py`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import environment
from tests.runs.surroundings import CHANGES

LONG_S = 30.0
"""Longest wait for a process that starts others, on a busy machine."""

ROOT = Path(__file__).parents[2]

EXPECTED = {
    "in_thread": "thread, made.txt",
    "in_task": "task",
    "failing": "the function raised LookupError",
    "in_process": "start, made.txt",
    "with_secrets": "keptstart",
    "given": "sent ahead",
    "files": ["0o600"],
    "folders": ["0o700"],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_function_changes_of_the_process_hurts_no_other_run(
    change: str, tmp_path: Path
) -> None:
    given = {"PYTHONPATH": str(ROOT), "OF_THE_START": "start", "SECRET_OF_THE_START": "start"}
    tried = subprocess.run(
        [sys.executable, "-m", "tests.runs.surroundings", change],
        cwd=tmp_path,
        env=environment(given),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )

    assert tried.returncode == 0, tried.stderr
    found = json.loads(tried.stdout)
    if change == "mask":  # what functions make themselves they cannot read, either
        found["files"].remove("0o0")
    assert found == EXPECTED
