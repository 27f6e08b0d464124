"""A channel of another package: built as a wheel from what the documentation shows, installed from
it, and used by its scheme."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.environment import environment
from tests.waiting import START_S

PAGE = Path(__file__).parents[2] / "docs" / "channels" / "your-own.md"
PROGRAM = """
import asyncio
import runcast

async def main():
    async with runcast.open_hub() as hub:
        async with hub.run("import") as run:
            runcast.content("All is imported.")
        delivery = await hub.deliver(run.run_id, "pager://bell?token=T0PSECRET")
        print((await delivery.wait()).status, delivery.target)

asyncio.run(main())
"""


@pytest.mark.tree
def test_a_channel_is_installed_and_used_by_its_scheme(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```(?:python|toml|text)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
    project = next(block for block in blocks if "[project.entry-points" in block)
    module = next(block for block in blocks if "def make_channel" in block)
    source, target = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    (source / "pyproject.toml").write_text(project)
    (source / "runcast_pager.py").write_text(module)
    build = "from hatchling.build import build_wheel; print(build_wheel('dist'))"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=True
    )
    wheel = source / "dist" / built.stdout.split()[-1]
    zipfile.ZipFile(wheel).extractall(target)  # as installers do with a wheel of Python alone
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**environment(), "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "bell rings: All is imported.",
        "delivered pager://bell",
    ]
