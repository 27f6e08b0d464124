"""The page about CrewAI: what its programs print."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, blocks_of
from tests.environment import environment

BLOCKS = [*blocks_of(ROOT / "docs" / "crewai.md")]


@pytest.mark.timeout(150)  # CrewAI takes its time to import
@pytest.mark.parametrize("index", [i for i, it in enumerate(BLOCKS) if it.language == "python"])
def test_a_program_prints_what_the_page_says(index: int, tmp_path: Path) -> None:
    program, printed = BLOCKS[index], BLOCKS[index + 1]
    assert printed.language == "text"

    assert printed_by(program, tmp_path) == printed.text


def printed_by(program: Block, folder: Path) -> str:
    file = folder / "program.py"
    file.write_text(program.text, "utf-8")
    ended = subprocess.run(
        [sys.executable, file],
        cwd=folder,
        env=environment(None),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
