"""Ids, records and texts chosen to break a store: each is kept unchanged, or is refused."""

import json

from runcast.errors import InvalidValue, NotFound
from runcast.events.position import Position
from runcast.stores.base import Append, Once, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect,
    expect_equal,
    expect_log,
    expect_refusal,
    frames_of,
    only,
    outcome_of,
    read_all,
    record,
    refused,
    store_check,
)

__all__ = ()

_IDS = (
    # For stores that fold case, and for special file names.
    *("abc", "ABC", "Abc", "a", "A", "con", "CON", "nul"),
    # Separators of keys, paths, ranges and patterns; and numbers.
    *("a.", "a..", "a.b", "a..b", "a:b", "a:", "a::b", "a-b", "a_b", "a-", "a_", "a__", "axb"),
    *("0", "00", "1", "01", "1e3", "1000", "0x10", "1.0", "1.", "10", "9", "null", "None", "true"),
    # As long as allowed, and equal except for the last character.
    *("x" * 128, "x" * 127 + "y", "X" * 128, "x" * 127, ":".join("ab" * 32), "a" + "." * 127),
)

_NOT_IDS = (
    *("", " ", "a ", " a", "a b", ".", "..", ".a", "-a", "_a", ":a", "a/b", "../a", "a\\b"),
    *("a\n", "a\r", "\x00", "a\x00", "a\x00b", "é", "aé", "a\u2028", "\uff41", "a\ud800", "%41"),
    *("a%", "a*", "a?", "a'b", 'a"', "a;b", "a,b", "a=b", "x" * 129, "x" * 100_000),
)

_ANY_BYTES = bytes(byte for byte in range(256) if byte not in b"\r\n")

_RECORDS = (
    *(b"", b" ", b"}", b"{}", b"\x00", b"\xff\xfe", b'"', b"\\n", b"%d", b"%s%b"),
    *(b"id: 1", b"data: x", b"event: x", b": comment", b"id: 0000000000-1", b"retry: 1"),
    # Characters that other readers take for the end of a line: U+2028, U+2029, U+0085, vertical
    # tab, form feed.
    json.dumps({"data": "\u2028\u2029\u0085\x0b\x0c"}, ensure_ascii=False)[1:-1].encode(),
    *("\u2028\u2029\u0085".encode(), b"\x0b\x0c\x1c\x1d\x1e\x85"),
    *(_ANY_BYTES, _ANY_BYTES * 4321, b"x" * 1_000_000, b"\x00" * 70_000),
)

_TEXTS = (
    *("a", "A", "a ", " a", "'", '"', "\\", "\\n", "\n", "\r\n", "\t", "\x7f", "%", "_", "*", "a?"),
    *("1", "01", "1.0", "1e0", "0", "true", "null", "{}", "[]", '{"a":1}', "$", "$.a", "a.b", ":a"),
    *(
        "\u2028",
        "\u00e9",
        "e\u0301",
        "\U0001f511",
        "\ufeff",
        "\uffff",
        "\\u0041",
        "&amp;",
        "x" * 200,
    ),
)
_DOUBTFUL_TEXTS = ("\ud800", "b\udfff", "\x00", "b\x00c")
"""Not UTF-8, or cut short by code in C: to be refused, or kept unchanged."""

_NOT_RECORDS = (b"\n", b"\r", b"a\nb", b"a\rb", b"a\r\nb", b"a\n", b"\na", b"\n\nid: 1", b"a\n\n")


@store_check(9)
async def every_id_names_a_log_of_its_own(store: Store, harness: StoreHarness) -> None:
    epochs: dict[str, str] = {}
    for log_id in _IDS:
        info = await store.create(log_id, labels={"id": log_id})
        expect_equal(info.log_id, log_id, "the id of a new log")
        epochs[log_id] = info.epoch
    for turn in range(2):
        group = [Append(log_id, [b'"id":"%b"' % log_id.encode()]) for log_id in _IDS]
        for outcome in await store.commit(group):
            expect_equal(only(outcome).last, turn + 1, "the seq in a log of its own")
    listed = [info.log_id for info in await store.list(limit=100)]
    expect_equal(sorted(listed), sorted(_IDS), "logs")
    for log_id in _IDS:
        await expect_log(store, log_id, [b'"id":"%b"' % log_id.encode()] * 2)
        found = await store.list(labels={"id": log_id})
        expect_equal([info.log_id for info in found], [log_id], f"logs with the label {log_id!r}")
    await store.delete("abc")
    await store.create("a.b", replace=True)
    for log_id in ("ABC", "Abc", "a", "a:b", "axb", "a..b"):
        expect_equal((await store.info(log_id)).epoch, epochs[log_id], f"the epoch of {log_id!r}")
        expect_equal(len(await read_all(store, log_id, Position(epochs[log_id], 0))), 2, log_id)


@store_check(9, "create")
async def what_is_no_id_names_no_log(store: Store, harness: StoreHarness) -> None:
    for log_id in _NOT_IDS:
        for replace in (False, True):
            with expect_refusal(InvalidValue, f"creating {log_id[:200]!r}"):
                await store.create(log_id, replace=replace)
        with expect_refusal(NotFound, f"reading {log_id[:200]!r}"):
            await store.read(log_id, Position("0000000000", 0))
    group = [Append(log_id, [record(1)]) for log_id in _NOT_IDS]
    for outcome in await store.commit(group):
        refused(outcome, NotFound, "an append to what cannot be a log")
    expect_equal(await store.list(), [], "logs")


@store_check(8)
async def a_record_is_any_bytes_but_line_breaks(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    await store.create("all")
    for seq, body in enumerate(_RECORDS, 1):
        done = await append(store, "a", body)
        frames = b"".join(page.frames for page in done.pages)
        expect_equal(frames, frames_of(epoch, [body], first=seq)[0], "the frame of an append")
    await append(store, "all", *_RECORDS)
    await expect_log(store, "a", _RECORDS)
    await expect_log(store, "all", _RECORDS, max_bytes=1)


@store_check("records")
async def a_record_with_a_line_break_is_refused(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for body in _NOT_RECORDS:
        for records in ([body], [record(1), body], [body, record(1)]):
            asked = Append("a", records, close=True, labels={"k": "v"}, once=Once("key"))
            refused(await outcome_of(store, asked), InvalidValue, f"the record {body!r}")
    # Line breaks in one record that make up for the missing ones of another.
    refused(await outcome_of(store, Append("a", [b"", b"\n"])), InvalidValue, "an empty record")
    info = await store.info("a")
    expect_equal((info.closed, info.labels), (False, {}), "closed and labels after refusals")
    await expect_log(store, "a", [])
    await append(store, "a", record(1))


@store_check("list")
async def any_text_is_a_label(store: Store, harness: StoreHarness) -> None:
    for number, text in enumerate(_TEXTS):
        await store.create(f"value-{number}", labels={"label": text})
        await store.create(f"name-{number}")
        only(await outcome_of(store, Append(f"name-{number}", labels={text: "value"})))
    for number, text in enumerate(_TEXTS):
        await _expect_labelled(store, {"label": text}, f"value-{number}")
        await _expect_labelled(store, {text: "value"}, f"name-{number}")


@store_check("create", "list", durable=True)
async def a_label_stays_what_it_is(store: Store, harness: StoreHarness) -> None:
    kept: dict[str, dict[str, str]] = {}
    for number, text in enumerate((*_TEXTS, *_DOUBTFUL_TEXTS)):
        for labels in ({"label": text}, {text: "value"}):
            log_id = f"log-{number}-{'label' in labels}"
            try:
                await store.create(log_id, labels=labels)
            except InvalidValue:
                expect(text in _DOUBTFUL_TEXTS, f"the text {text!r} can be a label")
            else:
                kept[log_id] = labels
    await store.close()
    async with harness.make_store() as again:
        for log_id, labels in kept.items():
            await _expect_labelled(again, labels, log_id)


async def _expect_labelled(store: Store, labels: dict[str, str], log_id: str) -> None:
    found = await store.list(labels=labels)
    expect_equal([info.log_id for info in found], [log_id], f"logs with the labels {labels}")
    expect_equal(found[0].labels, labels, f"the labels of {log_id!r}")


@store_check("commit")
async def a_doubtful_text_spares_its_group(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for text in _DOUBTFUL_TEXTS:
        outcomes = await store.commit(
            [
                Append("a", [record(1)], labels={"label": text}),
                Append("a", [record(2)], labels={text: "label"}),
                Append("a", [record(3)], once=Once(text, "digest")),
                Append("a", [record(4)], once=Once(f"key {text}", text)),
                Append(text, [record(5)]),
                Append("a", [record(6)]),
            ]
        )
        only(outcomes[-1], f"an append beside others with the text {text!r}")
        refused(outcomes[-2], NotFound, f"an append to {text!r}")
        labels = (await store.info("a")).labels
        for outcome in outcomes[:4]:
            if isinstance(outcome, Exception):
                refused(outcome, InvalidValue, f"the text {text!r}")
        for outcome, name, value in ((outcomes[0], "label", text), (outcomes[1], text, "label")):
            if not isinstance(outcome, Exception):
                expect_equal(labels.get(name), value, f"the label {name!r}, which was taken")
    for text in _DOUBTFUL_TEXTS:
        expect_equal(await store.list(labels={"no such label": text}), [], f"logs with {text!r}")
