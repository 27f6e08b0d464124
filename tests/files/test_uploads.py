"""Uploads: written as they arrive, there wholly or not at all, gone when nobody needs them."""

import asyncio
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from runcast._files.data_dir import DataDir
from runcast._files.tally import Tally, Totals
from runcast._files.uploads import Uploads
from runcast._settings import Settings
from runcast.errors import BackendError, FileTooLarge, NotFound, Overloaded
from runcast.testing import FakeClock
from tests.descriptors import full_table
from tests.files.listing import listing


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.fixture
def uploads(root: Path, clock: FakeClock) -> Uploads:
    return Uploads(DataDir(root), clock, Settings())


def files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "uploads").iterdir())


async def test_an_upload_is_on_the_disk_as_it_came(uploads: Uploads, clock: FakeClock) -> None:
    content = bytes(range(256)) * 10_000

    upload = await uploads.receive("../a b.csv", "text/csv", pieces_of(content[:7], content[7:]))

    found, path = await asyncio.to_thread(uploads.find, upload.upload_id)
    assert path.read_bytes() == content
    assert (found.name, found.size, found.type) == ("a b.csv", len(content), "text/csv")
    assert found.sha256 == sha256(content).hexdigest()
    assert found.expires_at == clock.time() + 3600


@pytest.mark.parametrize("said", ["", "nonsense", "text/html\r\nX: y", "a/b/c"])
async def test_a_type_that_is_none_is_guessed_from_the_name(uploads: Uploads, said: str) -> None:
    assert (await uploads.receive("a.pdf", said, pieces_of())).type == "application/pdf"


@pytest.mark.parametrize(
    "upload_id", ["", "x", "../uploads", "0" * 32, "0" * 31 + "\x00", "é" * 32]
)
def test_what_was_not_uploaded_is_not_found(uploads: Uploads, upload_id: str) -> None:
    with pytest.raises(NotFound, match="there is no upload"):
        uploads.find(upload_id)


async def test_an_upload_that_cannot_be_looked_at_now_has_not_expired(uploads: Uploads) -> None:
    upload = await uploads.receive("a.pdf", "", pieces_of())

    with full_table(), pytest.raises(BackendError, match="at present: Too many open files"):
        await asyncio.to_thread(uploads.find, upload.upload_id)

    assert (await asyncio.to_thread(uploads.find, upload.upload_id))[0].name == "a.pdf"


async def test_an_upload_that_breaks_off_leaves_nothing(uploads: Uploads, root: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await uploads.receive("a", "", broken())

    assert files(root) == []


async def test_an_upload_that_is_cancelled_leaves_nothing(uploads: Uploads, root: Path) -> None:
    is_waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        is_waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(uploads.receive("a", "", endless()))
    await is_waiting.wait()
    assert [name[32:] for name in files(root)] == [".part"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert files(root) == []


async def test_an_upload_has_a_bound(root: Path, clock: FakeClock) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(max_upload_bytes=10))
    await uploads.receive("a", "", pieces_of(b"x" * 10))

    with pytest.raises(FileTooLarge, match="max_upload_bytes"):
        await uploads.receive("a", "", pieces_of(b"x" * 6, b"x" * 5))

    assert len(files(root)) == 2


async def test_all_uploads_together_have_a_bound(root: Path, clock: FakeClock) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(upload_bytes=10))
    await uploads.receive("a", "", pieces_of(b"x" * 6))

    with pytest.raises(Overloaded, match="upload_bytes"):
        await uploads.receive("b", "", pieces_of(b"x" * 5))

    await uploads.receive("c", "", pieces_of(b"x" * 4))


async def test_uploads_that_end_while_another_arrives_count_for_it(
    root: Path, clock: FakeClock
) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(upload_bytes=10))
    is_waiting, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        is_waiting.set()
        await may_go_on.wait()
        yield b"x" * 4

    arriving = asyncio.create_task(uploads.receive("a", "", slow()))
    await is_waiting.wait()
    await uploads.receive("b", "", pieces_of(b"x" * 6))
    may_go_on.set()

    with pytest.raises(Overloaded, match="upload_bytes"):
        await arriving


async def test_so_has_their_number(root: Path, clock: FakeClock) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(max_uploads=1))
    await uploads.receive("a", "", pieces_of())

    with pytest.raises(Overloaded, match="max_uploads"):
        await uploads.receive("b", "", pieces_of())


async def test_the_bounds_hold_for_all_processes_that_share_a_folder(
    root: Path, clock: FakeClock
) -> None:
    settings = Settings(max_uploads=3, upload_bytes=10)
    one, other = (Uploads(DataDir(root), clock, settings) for _ in range(2))
    await one.receive("a", "", pieces_of(b"x" * 4))
    await other.receive("b", "", pieces_of(b"x" * 4))

    for uploads in (one, other):
        with pytest.raises(Overloaded, match="upload_bytes"):
            await uploads.receive("c", "", pieces_of(b"x" * 3))
    await one.receive("c", "", pieces_of(b"x"))
    for uploads in (one, other):
        with pytest.raises(Overloaded, match="max_uploads"):
            await uploads.receive("d", "", pieces_of())


@pytest.mark.parametrize("settings", [Settings(upload_bytes=10), Settings(max_uploads=1)])
async def test_a_bound_holds_for_two_processes_that_take_uploads_at_once(
    root: Path, clock: FakeClock, settings: Settings
) -> None:
    one, other = (Uploads(DataDir(root), clock, settings) for _ in range(2))
    is_waiting, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 6
        is_waiting.set()
        await may_go_on.wait()

    arriving = asyncio.create_task(one.receive("a", "", slow()))
    await is_waiting.wait()
    await other.receive("b", "", pieces_of(b"x" * 6))
    may_go_on.set()

    with pytest.raises(Overloaded):
        await arriving
    assert len(files(root)) == 2


async def test_no_upload_looks_through_those_that_wait(
    uploads: Uploads, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await uploads.receive("a", "", pieces_of(b"x"))
    listed: list[str] = []
    for owner, name in ((os, "listdir"), (os, "scandir"), (Path, "iterdir")):
        monkeypatch.setattr(owner, name, listing(getattr(owner, name), listed))

    await uploads.receive("a", "", pieces_of(b"x"))

    assert [folder for folder in listed if folder.startswith(str(root))] == []


async def test_uploads_of_a_version_that_kept_no_count_are_counted(
    root: Path, clock: FakeClock
) -> None:
    settings = Settings(max_uploads=2, upload_bytes=10)
    await Uploads(DataDir(root), clock, settings).receive("a", "", pieces_of(b"x" * 8))
    (root / "uploads.total").unlink()

    uploads = Uploads(DataDir(root), clock, settings)
    with pytest.raises(Overloaded, match="upload_bytes"):
        await uploads.receive("b", "", pieces_of(b"x" * 3))
    await uploads.receive("b", "", pieces_of(b"x" * 2))
    with pytest.raises(Overloaded, match="max_uploads"):
        await uploads.receive("c", "", pieces_of())


async def test_what_went_without_being_counted_makes_room_at_the_next_sweep(
    root: Path, clock: FakeClock
) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(max_uploads=1))
    upload = await uploads.receive("a", "", pieces_of(b"x"))
    (root / "uploads" / upload.upload_id).unlink()
    with pytest.raises(Overloaded, match="max_uploads"):
        await uploads.receive("b", "", pieces_of())

    await asyncio.to_thread(uploads.sweep, clock.time())

    await uploads.receive("b", "", pieces_of())


async def test_an_upload_that_ends_during_a_sweep_is_counted(
    root: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = Uploads(DataDir(root), clock, Settings(max_uploads=1))
    (await asyncio.to_thread(uploads._folder)).joinpath("1" * 32 + ".json").touch()
    other = Uploads(DataDir(root), clock, Settings())
    correct = Tally.correct

    def correct_late(tally: Tally, found: Totals) -> bool:
        asyncio.run(other.receive("b", "", pieces_of(b"x")))
        return correct(tally, found)

    monkeypatch.setattr(Tally, "correct", correct_late)
    await asyncio.to_thread(uploads.sweep, clock.time())

    with pytest.raises(Overloaded, match="max_uploads"):
        await uploads.receive("a", "", pieces_of())


async def test_uploads_that_expired_make_room(root: Path, clock: FakeClock) -> None:
    settings = Settings(max_uploads=2, upload_bytes=10)
    uploads = Uploads(DataDir(root), clock, settings)
    for size in (4, 6):
        await uploads.receive("a", "", pieces_of(b"x" * size))
    clock.advance(settings.keep_uploads_s + 1)
    assert await asyncio.to_thread(uploads.sweep, clock.time()) == 2

    for size in (6, 4):
        await uploads.receive("a", "", pieces_of(b"x" * size))


@pytest.fixture
def broken(root: Path, clock: FakeClock) -> Uploads:
    """Uploads where a file stands in the way of their folder."""
    root.mkdir()
    (root / "uploads").touch()
    return Uploads(DataDir(root), clock, Settings())


async def test_an_upload_that_cannot_be_written_is_told(broken: Uploads) -> None:
    with pytest.raises(BackendError, match="cannot be kept"):
        await broken.receive("a", "", pieces_of(b"x"))


async def test_an_upload_expires_an_hour_after_it_was_used(
    uploads: Uploads, clock: FakeClock, root: Path
) -> None:
    upload = await uploads.receive("a", "", pieces_of(b"x"))
    clock.advance(3000)
    assert (await asyncio.to_thread(uploads.find, upload.upload_id))[0].expires_at == (
        clock.time() + 3600
    )
    clock.advance(3000)
    assert await asyncio.to_thread(uploads.sweep, clock.time()) == 0
    clock.advance(601)

    with pytest.raises(NotFound):
        await asyncio.to_thread(uploads.find, upload.upload_id)
    assert await asyncio.to_thread(uploads.sweep, clock.time()) == 1
    assert await asyncio.to_thread(uploads.sweep, clock.time()) == 0
    assert files(root) == []


async def test_what_a_killed_process_left_is_swept(
    uploads: Uploads, clock: FakeClock, root: Path
) -> None:
    await uploads.receive("a", "", pieces_of(b"x"))
    for name in ("1" * 32 + ".part", "2" * 32 + ".json"):
        (root / "uploads" / name).touch()

    clock.jump(4e9)  # files that the test makes bear the machine's own time
    for path in (root / "uploads").iterdir():
        assert path.stat().st_mtime < clock.time()
    await asyncio.to_thread(uploads.sweep, clock.time())
    await asyncio.to_thread(uploads.sweep, clock.time())

    assert files(root) == []
