"""Removing what runs leave, whatever they have made of it."""

import os
from pathlib import Path

from runcast._files.removing import remove_folder
from runcast._files.workspace import Workspaces
from tests.files.steps import collect, sweep

DEPTH = 1500
"""Deeper than Python's stack, and than a path can be long."""


def nest(folder: Path) -> None:
    """Put folders into each other in a folder."""
    for _ in range(DEPTH):
        outer = folder.with_name("outer")
        outer.mkdir()
        folder.rename(outer / "in")
        outer.rename(folder)


def test_folders_are_removed_however_deep_they_are(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    nest(tmp_path / "a")

    remove_folder(tmp_path / "a")

    assert list(tmp_path.iterdir()) == []


def test_a_run_that_nests_folders_keeps_its_files(workspaces: Workspaces) -> None:
    made = workspaces.make("a", "0123456789")
    (made.outputs / "result").touch()
    (made.path / "deep").mkdir()
    nest(made.path / "deep")

    assert [file.path for file in collect(made, {}).files] == ["result"]
    assert not made.path.exists()
    assert sweep(workspaces, lambda *_: "gone") == 1


def test_folders_are_removed_that_nobody_may_change(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    for folder, mode in ((inner, 0), (inner.parent, 0o500), (tmp_path / "a", 0o500)):
        folder.chmod(mode)

    remove_folder(tmp_path / "a")

    assert list(tmp_path.iterdir()) == []


def test_where_links_lead_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "mine")
    os.link(tmp_path / "mine" / "file", tmp_path / "a" / "same")
    os.mkfifo(tmp_path / "a" / "pipe")

    remove_folder(tmp_path / "a")

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755


def test_a_link_in_place_of_the_folder_is_removed_itself(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    (tmp_path / "mine" / "file").touch()
    (tmp_path / "a").symlink_to(tmp_path / "mine")

    remove_folder(tmp_path / "a")

    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o755


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_folder(tmp_path / "none")
