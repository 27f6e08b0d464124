"""Workspaces: made whole, filled under safe names, collected without leaving them, swept."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import finish
from runcast._files.workspace import Life, Workspace, Workspaces
from runcast._functions.file_groups import FileGroup, parse_file_groups
from runcast._settings import Settings
from runcast.errors import BackendError, InvalidValue
from runcast.testing import FakeClock
from tests.descriptors import full_table
from tests.files.listing import listing
from tests.files.steps import collect, remove, sweep

EPOCH = "0123456789"
NONE: Mapping[str, FileGroup] = {}


def paths(workspace: Workspace, groups: Mapping[str, FileGroup] = NONE) -> list[str]:
    return [file.path for file in collect(workspace, groups).files]


def reasons(workspace: Workspace) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in collect(workspace, NONE).skipped}


def outputs(*keys: str, **more: object) -> dict[str, FileGroup]:
    declared = {"type": "array", "items": {"type": "OutputFile"}, **more}
    return parse_file_groups(dict.fromkeys(keys, declared))


# --- making ---------------------------------------------------------------------------------------


def test_nothing_is_made_before_it_is_needed(root: Path, workspaces: Workspaces) -> None:
    assert workspaces.find("a", EPOCH) is None
    remove(workspaces, "a", EPOCH)
    assert sweep(workspaces, lambda *_: "gone") == 0

    assert not root.exists()


def test_a_workspace_has_folders_for_inputs_and_outputs(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)

    assert made.inputs == made.path / "data" / "inputs"
    assert made.inputs.is_dir()
    assert made.outputs.is_dir()
    assert made.folder.stat().st_mode & 0o077 == 0 or made.folder.parent.stat().st_mode & 0o077 == 0


def test_a_workspace_is_made_once(workspaces: Workspaces) -> None:
    (workspaces.make("a", EPOCH).outputs / "x").touch()

    assert paths(workspaces.make("a", EPOCH)) == ["x"]


def test_a_workspace_that_is_ready_is_given_to_the_next_run(
    root: Path, workspaces: Workspaces
) -> None:
    workspaces.make_ready()
    workspaces.make_ready()
    (ready,) = (root / "workspaces").iterdir()
    number = ready.stat().st_ino

    assert workspaces.make("a", EPOCH).folder.stat().st_ino == number
    assert workspaces.make("b", EPOCH).outputs.is_dir()


def test_threads_that_make_one_ready_at_once_make_one(
    root: Path, workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, others = workspaces.stage, [workspaces.make_ready]

    def stage_meanwhile() -> Workspace:
        if others:
            others.pop()()
        return stage()

    monkeypatch.setattr(workspaces, "stage", stage_meanwhile)
    workspaces.make_ready()

    assert len(list((root / "workspaces").iterdir())) == 1


def test_a_workspace_that_was_ready_and_was_swept_is_not_missed(
    root: Path, workspaces: Workspaces
) -> None:
    workspaces.make_ready()
    (ready,) = (root / "workspaces").iterdir()
    shutil.rmtree(ready)

    assert workspaces.make("a", EPOCH).outputs.is_dir()


def test_a_workspace_that_is_ready_is_removed_at_the_end(
    root: Path, workspaces: Workspaces
) -> None:
    workspaces.make_ready()
    workspaces.discard_ready()
    workspaces.discard_ready()

    assert list((root / "workspaces").iterdir()) == []


def test_runs_and_epochs_have_workspaces_of_their_own(workspaces: Workspaces) -> None:
    names = ["run", "RUN", "r:1", "r" * 128]
    made = {workspaces.make(name, epoch).path for name in names for epoch in (EPOCH, "9876543210")}

    assert len({str(path).casefold() for path in made}) == 8


def test_one_epoch_of_a_run_is_removed_and_nothing_else(root: Path, workspaces: Workspaces) -> None:
    workspaces.make("a", EPOCH)
    kept = {workspaces.make("a", "9876543210").folder, workspaces.make("aa", EPOCH).folder}

    remove(workspaces, "a", EPOCH)

    assert set((root / "workspaces").iterdir()) == kept


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    workspaces = Workspaces(DataDir(tmp_path / "file" / "data"), clock, Settings())

    with pytest.raises(BackendError, match="data_dir"):
        workspaces.make("a", EPOCH)


# --- inputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\report.pdf", "report.pdf"),
        ("/etc/passwd", "passwd"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("a/", "file"),
        (".bashrc", "bashrc"),
        ("a\x00b\nc", "a_b_c"),
        ("a\u202efdp.exe", "a_fdp.exe"),
        ("文件.txt", "文件.txt"),
        ("x" * 300 + ".pdf", "x" * 196 + ".pdf"),
        ("件" * 300, "件" * 66),
        ("\ud800", "_"),
    ],
)
def test_a_file_gets_a_safe_name(workspaces: Workspaces, given: str, name: str) -> None:
    made = workspaces.make("a", EPOCH)

    assert made.place("k", given) == made.inputs / "k" / name


def test_two_files_of_one_name_are_both_kept(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    for name in ("a.txt", "A.TXT", "a.txt", "b", "b"):
        made.place("k", name).touch()

    found = sorted(file.name for file in (made.inputs / "k").iterdir())
    assert found == ["A-2.TXT", "a-3.txt", "a.txt", "b", "b-2"]


def test_a_folder_is_looked_through_once_however_many_files_it_gets(
    workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = workspaces.make("a", EPOCH)
    looks: list[str] = []
    for owner, name in ((os, "listdir"), (os, "scandir"), (Path, "iterdir")):
        monkeypatch.setattr(owner, name, listing(getattr(owner, name), looks))

    placed = [made.place("k", "a.txt").name for _ in range(100)]

    assert placed == ["a.txt", *(f"a-{number}.txt" for number in range(2, 101))]
    assert len(looks) <= 1


@pytest.mark.parametrize("key", ["", "..", ".", "a/b", "/a", "a\x00", ".a", "k" * 65])
def test_a_group_cannot_be_a_path(workspaces: Workspaces, key: str) -> None:
    with pytest.raises(InvalidValue, match="group of files"):
        workspaces.make("a", EPOCH).place(key, "x")


def test_the_single_group_input_is_found_flat_as_well(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    made.place("input", "x.txt").write_text("x", "utf-8")
    made.place("input", "input").write_text("y", "utf-8")

    made.settle()

    assert (made.inputs / "x.txt").read_text("utf-8") == "x"
    assert (made.inputs / "input" / "x.txt").read_text("utf-8") == "x"
    assert (made.inputs / "input" / "input").read_text("utf-8") == "y"


@pytest.mark.parametrize("groups", [[], ["video"], ["input", "other"]])
def test_other_groups_are_not_flat(workspaces: Workspaces, groups: list[str]) -> None:
    made = workspaces.make("a", EPOCH)
    for key in groups:
        made.place(key, "x.txt").touch()

    made.settle()

    assert sorted(file.name for file in made.inputs.iterdir()) == groups


# --- outputs --------------------------------------------------------------------------------------


def test_outputs_are_collected_with_size_hash_and_type(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "b").mkdir()
    (made.outputs / "b" / "c.html").write_bytes(b"<p>")
    (made.outputs / "a.tar.gz").write_bytes(b"")
    (made.path / "elsewhere").write_text("not an output", "utf-8")

    found = collect(made, NONE)

    first, second = found.files
    assert (first.path, first.name, first.size) == ("a.tar.gz", "a.tar.gz", 0)
    assert first.type == "application/octet-stream"
    assert (second.path, second.name, second.size, second.type) == (
        "b/c.html",
        "c.html",
        3,
        "text/html",
    )
    assert second.sha256 == sha256(b"<p>").hexdigest()
    assert (found.skipped, found.problems) == ([], [])


def test_what_is_collected_can_be_read_and_the_rest_is_removed(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "x").write_bytes(b"abc")
    collect(made, NONE)

    with open(made.open("x"), "rb") as file:
        assert file.read() == b"abc"
    assert not made.path.exists()


def test_a_workspace_that_was_deleted_meanwhile_is_tidied_without_a_word(
    workspaces: Workspaces,
) -> None:
    made = workspaces.make("a", EPOCH)
    tidying = made.tidying()
    remove(workspaces, "a", EPOCH)

    finish(tidying)


def test_collecting_again_finds_the_same(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "x").write_bytes(b"abc")

    assert made.collected() is None
    assert collect(made, NONE) == collect(made, NONE) == made.collected()


def test_collecting_goes_on_where_a_killed_process_was(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "x").touch()
    made.outputs.rename(made.folder / "outputs")

    assert paths(made) == ["x"]


def test_a_run_without_an_outputs_folder_made_nothing(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    made.outputs.rmdir()

    assert collect(made, NONE).files == []


def test_links_are_not_followed(workspaces: Workspaces, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret", "utf-8")
    made = workspaces.make("a", EPOCH)
    (made.outputs / "file").symlink_to(secret / "key")
    (made.outputs / "folder").symlink_to(secret)
    (made.outputs / "gone").symlink_to(tmp_path / "nowhere")
    (made.outputs / "loop").symlink_to("loop")

    assert paths(made) == []
    assert reasons(made) == dict.fromkeys(["file", "folder", "gone", "loop"], "a symbolic link")


@pytest.mark.parametrize("part", ["data/outputs", "data"])
def test_a_folder_that_became_a_link_is_not_followed(
    workspaces: Workspaces, tmp_path: Path, part: str
) -> None:
    secret = tmp_path / "secret"
    (secret / "outputs").mkdir(parents=True)
    (secret / "key").touch()
    (secret / "outputs" / "key").touch()
    made = workspaces.make("a", EPOCH)
    (made.path / part).rename(tmp_path / "moved")
    (made.path / part).symlink_to(secret)

    found = collect(made, NONE)

    assert found.files == []
    assert found.skipped or found.problems
    assert (secret / "outputs" / "key").exists()
    assert (secret / "key").exists()


def test_special_files_are_not_read(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    os.mkfifo(made.outputs / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(made.outputs)  # the address of a socket is short
        try:
            unix.bind("socket")
        finally:
            os.chdir(here)

    assert paths(made) == []
    assert reasons(made) == dict.fromkeys(["pipe", "socket"], "neither a file nor a folder")


def test_names_that_could_mislead_are_not_taken(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    for name in (b"a\nb", b"\xff", b"a\\b", b"ok \xe2\x80\x94 fine"):
        (Path(os.fsdecode(os.fsencode(made.outputs) + b"/" + name))).touch()

    assert paths(made) == ["ok — fine"]
    assert len(reasons(made)) == 3


def test_deep_folders_are_not_taken(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "/".join("d" * 40)).mkdir(parents=True)

    assert paths(made) == []
    assert len(reasons(made)) == 1


def test_there_is_a_bound_on_files(root: Path, clock: FakeClock) -> None:
    made = Workspaces(DataDir(root), clock, Settings(max_files=2)).make("a", EPOCH)
    for name in "abcd":
        (made.outputs / name).touch()

    found = collect(made, NONE)

    assert [file.path for file in found.files] == ["a", "b"]
    assert found.skipped_count == 2
    assert found.problems == ["data/outputs holds more than 2 files (max_files)"]


def test_there_is_a_bound_on_bytes(root: Path, clock: FakeClock) -> None:
    made = Workspaces(DataDir(root), clock, Settings(max_output_bytes=10)).make("a", EPOCH)
    (made.outputs / "a").write_bytes(b"x" * 6)
    with (made.outputs / "b").open("wb") as file:
        file.truncate(1 << 40)  # takes no room
    (made.outputs / "c").write_bytes(b"x" * 4)

    found = collect(made, NONE)

    assert [file.path for file in found.files] == ["a", "c"]
    assert found.problems == ["data/outputs holds more than 10 bytes (max_output_bytes)"]


def test_there_is_a_bound_on_what_is_looked_at(root: Path, clock: FakeClock) -> None:
    made = Workspaces(DataDir(root), clock, Settings(max_files=1)).make("a", EPOCH)
    for number in range(1100):
        (made.outputs / str(number)).mkdir()

    found = collect(made, NONE)

    assert "data/outputs holds too many files and folders" in found.problems


# --- what is declared -----------------------------------------------------------------------------


def test_one_output_group_holds_all_outputs(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    (made.outputs / "x").touch()

    assert [file.key for file in collect(made, outputs("output")).files] == ["output"]


def test_several_output_groups_are_folders(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    for path in ("report/x", "video/y", "z"):
        (made.outputs / path).parent.mkdir(exist_ok=True)
        (made.outputs / path).touch()

    found = collect(made, outputs("report", "video"))

    assert [(file.path, file.key) for file in found.files] == [
        ("report/x", "report"),
        ("video/y", "video"),
        ("z", ""),
    ]
    assert found.problems == []


def test_a_declared_output_that_is_missing_is_a_problem(workspaces: Workspaces) -> None:
    assert collect(workspaces.make("a", EPOCH), outputs("output")).problems == [
        "output: expected 1 or more files, got 0"
    ]


def test_an_optional_output_may_be_missing(workspaces: Workspaces) -> None:
    assert collect(workspaces.make("a", EPOCH), outputs("output", required=False)).problems == []


def test_too_many_declared_outputs_are_a_problem(workspaces: Workspaces) -> None:
    made = workspaces.make("a", EPOCH)
    for name in "ab":
        (made.outputs / name).touch()

    assert collect(made, outputs("output", maxItems=1)).problems == [
        "output: expected at most 1 files, got 2"
    ]


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ([], "object"),
        ({"a": 1}, "object"),
        ({"a/b": {}}, "called"),
        ({"a": {"type": "InputFile"}}, "array"),
        ({"a": {"type": "array", "items": {"type": "string"}}}, "InputFile"),
        ({"a": {"type": "array", "items": {"type": "InputFile"}, "required": 1}}, "required"),
        ({"a": {"type": "array", "items": {"type": "InputFile"}, "minItems": -1}}, "minItems"),
        ({"a": {"type": "array", "items": {"type": "InputFile"}, "maxItems": True}}, "maxItems"),
        (
            {"a": {"type": "array", "items": {"type": "InputFile"}, "minItems": 2, "maxItems": 1}},
            "minItems <= maxItems",
        ),
        ({"a": {"type": "array", "items": {"type": "InputFile"}, "accept": ".mp4"}}, "accept"),
    ],
)
def test_a_wrong_declaration_is_refused(declared: object, problem: str) -> None:
    with pytest.raises(InvalidValue, match=problem):
        parse_file_groups(declared)


# --- sweeping -------------------------------------------------------------------------------------


def sweep_all(workspaces: Workspaces, **lives: Life) -> int:
    return sweep(workspaces, lambda run_id, _: lives[run_id])


def test_living_runs_keep_their_workspaces(workspaces: Workspaces, clock: FakeClock) -> None:
    made = workspaces.make("a", EPOCH)
    clock.advance(1e9)

    assert sweep_all(workspaces, a="live") == 0
    assert made.outputs.is_dir()


def test_a_workspace_stays_that_cannot_be_looked_into(workspaces: Workspaces) -> None:
    """Whose it is cannot be read while the table of descriptors is full: it is not nobody's."""
    made = workspaces.make("a", EPOCH)

    sweeping = workspaces.sweeping(lambda *_: "live", 0.0)
    next(sweeping)  # the folders are listed
    with full_table():
        assert finish(sweeping) == 0

    assert made.outputs.is_dir()


def test_workspaces_of_runs_that_are_gone_are_swept(root: Path, workspaces: Workspaces) -> None:
    workspaces.make("a", EPOCH)

    assert sweep_all(workspaces, a="gone") == 1
    assert list((root / "workspaces").iterdir()) == []


def test_what_an_ended_run_made_is_kept_if_it_was_collected(workspaces: Workspaces) -> None:
    collect(workspaces.make("collected", EPOCH), NONE)
    workspaces.make("killed", EPOCH)

    assert sweep_all(workspaces, collected="ended", killed="ended") == 1
    assert workspaces.find("collected", EPOCH) is not None


def test_files_of_ended_runs_grow_old(root: Path, clock: FakeClock) -> None:
    workspaces = Workspaces(DataDir(root), clock, Settings(keep_files_s=60))
    collect(workspaces.make("a", EPOCH), NONE)

    clock.advance(59)
    assert sweep_all(workspaces, a="ended") == 0
    clock.advance(2)
    assert sweep_all(workspaces, a="ended") == 1


def test_what_killed_processes_left_unfinished_is_swept(
    root: Path, workspaces: Workspaces, clock: FakeClock
) -> None:
    workspaces.stage()
    (root / "workspaces" / ".going-1").mkdir()
    (root / "workspaces" / "strange").mkdir()

    assert sweep_all(workspaces) == 2
    clock.advance(3601)
    assert sweep_all(workspaces) == 1


# --- where ----------------------------------------------------------------------------------------


def test_a_temporary_folder_goes_with_its_process(tmp_path: Path) -> None:
    where = DataDir(parent=str(tmp_path))
    folder = where.ready()
    (folder / "x").touch()

    where.close()
    where.close()

    assert not folder.exists()


def test_the_temporary_folder_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    program = """
import os, sys
from runcast._files.data_dir import DataDir
from runcast._files.fair_threads import finish
DataDir(parent=sys.argv[1]).ready()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    (left,) = tmp_path.iterdir()
    mine, other = DataDir(parent=str(tmp_path)), DataDir(parent=str(tmp_path))

    kept = {mine.ready(), other.ready()}

    assert left not in kept
    assert set(tmp_path.iterdir()) == kept
    mine.close()
    other.close()


def test_two_stores_do_not_share_a_folder(tmp_path: Path) -> None:
    DataDir(tmp_path / "data", store="a.db").ready()
    DataDir(tmp_path / "data", store="a.db").ready()

    with pytest.raises(InvalidValue, match=r"holds files of the store a\.db, not of b\.db"):
        DataDir(tmp_path / "data", store="b.db").ready()
