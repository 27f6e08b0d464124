"""Uploads: written as they arrive, there wholly or not at all, gone when nobody needs them."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from runcast._files.data_dir import DataDir
from runcast._files.uploads import Uploads
from runcast._settings import Settings
from runcast.errors import BackendError, FileTooLarge, NotFound, Overloaded
from runcast.testing import FakeClock


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
    assert await asyncio.to_thread(uploads.sweep) == 0
    clock.advance(601)

    with pytest.raises(NotFound):
        await asyncio.to_thread(uploads.find, upload.upload_id)
    assert await asyncio.to_thread(uploads.sweep) == 1
    assert await asyncio.to_thread(uploads.sweep) == 0
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
    await asyncio.to_thread(uploads.sweep)
    await asyncio.to_thread(uploads.sweep)

    assert files(root) == []
