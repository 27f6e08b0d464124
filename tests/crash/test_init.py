"""The server is process 1 of a container: processes that functions leave do not stay as zombies."""

from pathlib import Path

import pytest

from tests.containers import container
from tests.crash.served import serving, within
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

TARGET = """
import subprocess

import runcast

@runcast.function(isolation="process")
def leaves():
    for _ in range(3):
        subprocess.Popen(["sh", "-c", "sleep 0.1 & exit 0"])
        subprocess.Popen(["setsid", "sh", "-c", "sleep 0.1 & sleep 0.1"])

@runcast.function
def leaves_in_thread():
    return subprocess.run(["sh", "-c", "sleep 0.1 & exit 5"]).returncode
"""


def children_of(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


async def test_process_1_keeps_no_zombies_and_takes_no_exit_code(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(TARGET, "utf-8")
    async with serving(tmp_path / "runs.db", str(target), inside=container()) as server:
        (first,) = children_of(server.process.pid)
        for function in ("leaves", "leaves_in_thread"):
            for number in range(3):
                run_id = f"{function}-{number}"
                assert (await server.start_run(function, run_id)).status == 202
                ended = ""
                async with within():
                    while '"type":"done"' not in ended:
                        ended = str(await server.log_of(run_id))
                assert ('"result":5' in ended) == (function == "leaves_in_thread")
        async with within():
            # The server itself is left.
            await until(lambda: len(children_of(first)) == 1)
