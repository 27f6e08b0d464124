"""Whatever bytes come, they are read as meant or refused with a clear word.

The corpus holds inputs that took ways of their own through the code; every run of the tests goes
through them all. `python -m tests.fuzz TARGET FOLDER` looks for more and writes them to the folder.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")

each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_what_fuzzing_found_before_is_read_or_refused(name: str) -> None:
    found = sorted((CORPUS / name).iterdir())
    assert found
    for file in found:
        TARGETS[name](file.read_bytes())


@each_target
@given(data=st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.heavy
@each_target
def test_fuzzing_finds_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    options = ["-max_total_time=6", "-runs=200000", "-max_len=2048", "-timeout=10", "-seed=1"]
    # New inputs are written to the first folder, so that the corpus itself stays as it is.
    command = [sys.executable, "-m", "tests.fuzz", name, tmp_path, CORPUS / name, *options]
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert "DONE" in done.stderr or "stat::" in done.stderr, done.stderr[-2000:]
