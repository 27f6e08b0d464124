"""Reads: exactly the events after a position, or `Gone` with the reason."""

import asyncio

from runcast.errors import Gone, NotFound
from runcast.events.position import Position, frame_record
from runcast.stores.base import PAGE_BYTES, Append, Page, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect,
    expect_equal,
    expect_log,
    expect_refusal,
    frames_of,
    padded,
    read_all,
    record,
    store_check,
)

__all__ = ()


async def _expect_gone(store: Store, log_id: str, after: Position, reason: str) -> None:
    with expect_refusal(Gone, f"reading {log_id!r} after {after}") as caught:
        await store.read(log_id, after)
    error = caught[0]
    expect_equal(error.reason if isinstance(error, Gone) else "", reason, "the reason")


@store_check(8)
async def a_frame_is_what_frame_record_makes(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    body = b'"time":1.5,"type":"log","data":{}'
    await append(store, "a", *[body] * 12)
    page = await store.read("a", Position(epoch, 9))
    head = b"id: " + epoch.encode() + b"-"
    expect_equal(
        page.frames, b"".join(frame_record(head, seq, body) for seq in (10, 11, 12)), "frames"
    )
    expect(page.frames.startswith(b"id: %b-10\ndata: {" % epoch.encode()), "as documented")


@store_check(8)
async def every_position_reads_exactly_what_follows(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [padded(number, 100 + 37 * (number % 7)) for number in range(30)]
    await append(store, "a", *records[:11])
    for body in records[11:20]:
        await append(store, "a", body)
    await append(store, "a", *records[20:], close=True)
    frames = frames_of(epoch, records)
    for seq in range(len(records) + 1):
        for max_bytes in (1, 333, 1000, PAGE_BYTES):
            found = await read_all(store, "a", Position(epoch, seq), max_bytes)
            expect_equal(found, frames[seq:], f"what follows seq {seq} by {max_bytes} bytes")


@store_check(8)
async def a_page_holds_an_event_however_large(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [padded(number, size) for number, size in enumerate((90, PAGE_BYTES * 2, 90, 90))]
    await append(store, "a", *records)
    page = await store.read("a", Position(epoch, 1))
    expect(page.last >= 2, "a page holds at least one event, even one larger than a page")
    await expect_log(store, "a", records)
    await expect_log(store, "a", records, max_bytes=1)


@store_check(8)
async def nothing_follows_the_head(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    nothing = await store.read("a", Position(epoch, 0))
    expect_equal(nothing, Page(epoch, 1, 0, b""), "what follows the start of an empty log")
    await append(store, "a", record(1), record(2))
    nothing = await store.read("a", Position(epoch, 2))
    expect_equal(nothing, Page(epoch, 3, 2, b""), "what follows the head of an open log")
    expect_equal(nothing.position, Position(epoch, 2), "where the next page begins")
    await append(store, "a", record(3), close=True)
    nothing = await store.read("a", Position(epoch, 3))
    expect_equal(nothing, Page(epoch, 4, 3, b"", closed=True), "what follows a closed log")


@store_check(8)
async def a_position_beyond_the_head_is_rewound(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    await _expect_gone(store, "a", Position(epoch, 1), "rewound")
    await append(store, "a", record(1))
    await append(store, "a", record(2), close=True)
    for seq in (3, 4, 2**53 - 1):
        await _expect_gone(store, "a", Position(epoch, seq), "rewound")


@store_check(8, 7)
async def a_position_of_another_epoch_is_replaced(store: Store, harness: StoreHarness) -> None:
    old = (await store.create("a")).epoch
    await append(store, "a", record(1), record(2))
    new = (await store.create("a", replace=True)).epoch
    for seq in (0, 1, 2, 3):
        await _expect_gone(store, "a", Position(old, seq), "replaced")
    for epoch in ("0000000000", "zzzzzzzzzz"):
        await _expect_gone(store, "a", Position(epoch, 0), "replaced")
    await append(store, "a", record(3))
    await _expect_gone(store, "a", Position(old, 1), "replaced")
    expect_equal(await read_all(store, "a", Position(new, 0)), frames_of(new, [record(3)]), "now")


@store_check(8)
async def a_trimmed_position_is_gone(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [record(number) for number in range(10)]
    await append(store, "a", *records)
    await store.trim("a", 5, b"")
    for seq in range(4):
        await _expect_gone(store, "a", Position(epoch, seq), "trimmed")
    for seq in range(4, 11):
        found = await read_all(store, "a", Position(epoch, seq), 200)
        expect_equal(found, frames_of(epoch, records)[seq:], f"what follows seq {seq}")


@store_check("read")
async def reading_creates_no_log(store: Store, harness: StoreHarness) -> None:
    for log_id in ("a", "A", "", "../etc", "a b", "x" * 129):
        with expect_refusal(NotFound, f"reading {log_id!r}"):
            await store.read(log_id, Position("0000000000", 0))
        with expect_refusal(NotFound, f"the info of {log_id!r}"):
            await store.info(log_id)
        with expect_refusal(NotFound, f"the snapshot of {log_id!r}"):
            await store.snapshot(log_id)
    expect_equal(await store.list(), [], "logs after reading what is not there")


@store_check(8)
async def a_big_log_is_read_page_by_page(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [padded(number, 900 + number % 250) for number in range(4000)]
    for start in range(0, len(records), 160):
        await append(store, "a", *records[start : start + 160])
    await expect_log(store, "a", records)
    frames = frames_of(epoch, records)
    for seq in range(7, len(records), 499):
        page = await store.read("a", Position(epoch, seq))
        expect(page.last > seq, "a page before the head holds an event")
        expect_equal(page.frames, b"".join(frames[seq : page.last]), f"the page after seq {seq}")
    expect_equal(await read_all(store, "a", Position(epoch, 3900), 5000), frames[3900:], "the end")


@store_check(2, 8)
async def a_reader_beside_writers_misses_nothing(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    turns, size = 40, 5
    found: list[bytes] = []

    async def write() -> None:
        for turn in range(turns):
            batch = [record(turn * size + index) for index in range(size)]
            await store.commit([Append("a", batch, close=turn == turns - 1)])
            head = (await store.info("a")).head
            expect(head >= (turn + 1) * size, "an acknowledged append is there for readers")

    async def follow() -> None:
        after, closed = Position(epoch, 0), False
        while not closed:
            page = await store.read("a", after, 700)
            expect_equal(page.first, after.seq + 1, "the first seq of a page")
            found.extend(frame + b"\n\n" for frame in page.frames.split(b"\n\n")[:-1])
            after, closed = page.position, page.closed
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(follow())
    expected = frames_of(epoch, [record(number) for number in range(turns * size)])
    expect_equal(found, expected, "what a reader saw while others wrote")
