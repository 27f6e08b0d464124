"""Folders for files, and a clock to let them grow old by."""

from pathlib import Path

import pytest

from runcast._files.data_dir import DataDir
from runcast._files.workspace import Workspaces
from runcast._settings import Settings
from runcast.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs.db.data"


@pytest.fixture
def workspaces(root: Path, clock: FakeClock) -> Workspaces:
    return Workspaces(DataDir(root), clock, Settings())
