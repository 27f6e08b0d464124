"""The API and its description, tried out by a program that looks for where they differ.

It makes requests that the description allows, and some that it does not, and follows the links from
one answer to the next request: every answer must be described, nothing allowed be refused, nothing
forbidden be taken, and nothing make the server fail. Source: https://schemathesis.readthedocs.io/
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.served import serve
from tests.environment import environment

HERE = Path(__file__).parent

SETTINGS = {
    "RUNCAST_TOKEN": "token",
    # What it begins is to end soon, and what it waits for to come.
    "RUNCAST_RUN_TIME_S": "5",
    "RUNCAST_LONG_POLL_S": "0.1",
}


def try_out(folder: Path, *options: str, within_s: float) -> None:
    """Serve functions from a store on disk, and fail unless nothing is found."""
    store = f"sqlite:///{folder}/runs.db"
    with serve(str(HERE / "described.py"), "--store", store, cwd=folder, env=SETTINGS) as server:
        program = Path(sys.executable).with_name("schemathesis")
        command: list[str | Path] = [program, "--config-file", HERE / "schemathesis.toml", "run"]
        command += [f"{server.url}/openapi.json", "-H", "Authorization: Bearer token"]
        command += ["--checks", "all", "--continue-on-failure", "--no-color"]
        command += ["--generation-deterministic", "--request-timeout", "10", "--warnings", "off"]
        ended = subprocess.run(
            [*command, *options],
            cwd=folder,
            env={**environment({}), "SCHEMATHESIS_HOOKS": "tests.http.schemathesis_hooks"}
            | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *sys.path])},
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )
        assert server.ask("GET", "/healthz").status == 200
        printed = ended.stdout + ended.stderr
        assert ended.returncode == 0, printed
        counted = re.search(r"(\d+) generated", printed)
        assert counted is not None, printed
        assert int(counted[1]) > 100


@pytest.mark.heavy
def test_a_few_requests_of_each_kind_find_nothing(tmp_path: Path) -> None:
    paths = ("/runs", "/runs/{run_id}", "/invoke/write_book")
    chosen = [part for path in paths for part in ("--include-path", path)]
    try_out(tmp_path, "--phases", "coverage", *chosen, within_s=40)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_many_requests_find_nothing(tmp_path: Path) -> None:
    try_out(tmp_path, "-n", "40", "--max-time", "60", within_s=240)
