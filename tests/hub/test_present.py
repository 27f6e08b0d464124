"""The present state of a run: exactly what its log holds up to the position it is told with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._settings import Settings
from runcast.errors import NotFound
from runcast.events.fold import fold
from runcast.events.model import Event, decode_event, encode_record
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Snapshot
from runcast.stores.base import Append, Page
from runcast.stores.memory import MemoryStore
from tests.events.strategies import events
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


def text(number: int) -> bytes:
    return encode_record("content", {"text": f"{number} "}, 1.0)


async def added_meanwhile(
    store: MemoryStore, patch: pytest.MonkeyPatch, add: Callable[[], Awaitable[Any]]
) -> None:
    """Have something added to the log between the look at its head and the reading."""
    read = store.read

    async def read_late(run_id: str, after: Position, *more: Any) -> Page:
        await add()
        return await read(run_id, after, *more)

    patch.setattr(store, "read", read_late)


async def test_what_is_added_while_a_state_is_made_is_left_to_the_tail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    async with asyncio.timeout(WAIT_S), Hub(store) as hub:
        inlet = await hub.create("r")
        await inlet.append([text(1), text(2)])
        await added_meanwhile(store, monkeypatch, lambda: inlet.append([text(3)]))
        for expected in ("1 2 ", "1 2 3 ", "1 2 3 3 "):
            info, state = await hub.present("r")

            assert (state.seq, state.texts[0].text) == (info.head, expected)


async def test_of_many_who_ask_at_once_each_gets_the_state_of_its_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    async with asyncio.timeout(WAIT_S), Hub(store) as hub:
        inlet = await hub.create("r")
        await inlet.append([text(0)])
        await added_meanwhile(store, monkeypatch, lambda: inlet.append([text(9)]))

        async def ask() -> None:
            info, state = await hub.present("r")
            assert state.seq == info.head
            assert state.counts == {"content": info.head}

        await asyncio.gather(*(ask() for _ in range(20)))


async def test_of_a_run_that_another_process_began_anew_nothing_old_is_told() -> None:
    store = MemoryStore()
    async with asyncio.timeout(WAIT_S), Hub(store) as hub:
        await (await hub.create("r")).append([text(1)])
        assert (await hub.present("r"))[1].texts[0].text == "1 "

        anew = await store.create("r", replace=True)  # this hub hears nothing of it
        await store.commit([Append("r", [text(2), text(3)], anew.epoch)])
        info, state = await hub.present("r")

        assert (info.epoch, state.seq) == (anew.epoch, 2)
        assert [each.text for each in state.texts] == ["2 3 "]


async def test_a_run_that_is_not_there_leaves_nothing_behind() -> None:
    async with Hub(MemoryStore()) as hub:
        with pytest.raises(NotFound):
            await hub.present("nobody")
        await hub.create("nobody")

        assert (await hub.present("nobody"))[1].seq == 0


async def record_of(inlet: Inlet, event: Event) -> None:
    place = (event.node, event.agent, event.path, event.duration)
    await inlet.append([encode_record(event.type, event.data, event.time, place)])


@given(
    log=st.lists(events(), max_size=12),
    looks=st.sets(st.integers(0, 12)),
    trims=st.sets(st.integers(2, 12), max_size=2),
)
@settings(max_examples=60)
def test_a_state_and_the_tail_behind_its_position_come_to_what_the_whole_log_does(
    log: list[Event], looks: set[int], trims: set[int]
) -> None:
    """Whenever somebody looks, and whatever retention takes meanwhile."""

    async def check() -> None:
        async with asyncio.timeout(WAIT_S), Hub(MemoryStore()) as hub:
            inlet = await hub.create("r")
            seen: list[tuple[Position, bytes]] = []
            stored: list[Event] = []
            for number in range(len(log) + 1):
                if number in looks:
                    info, state = await hub.present("r")
                    seen.append((info.position, msgspec.json.encode(state)))
                if number in trims and number < len(stored):
                    before = msgspec.json.encode(fold(stored[: number - 1]))
                    await hub.trim("r", number, before)
                if number < len(log):
                    await record_of(inlet, log[number])
                    page = await hub.store.read("r", Position(inlet.epoch, number))
                    stored += map(decode_event, split_frames(page.frames))
            whole = fold(stored)
            assert (await hub.present("r"))[1] == whole
            for position, encoded in seen:
                tail = [event for event in stored if event.seq > position.seq]
                assert fold(tail, msgspec.json.decode(encoded, type=Snapshot)) == whole

    asyncio.run(check())


async def test_states_are_not_kept_beyond_their_bound_in_bytes() -> None:
    store = MemoryStore()
    async with asyncio.timeout(WAIT_S), Hub(store, Settings(page_cache_bytes=100_000)) as hub:
        for number in range(10):
            inlet = await hub.create(f"r-{number}")
            await inlet.append([encode_record("content", {"text": "x" * 30_000}, 1.0)])
            await hub.present(f"r-{number}")

        assert 30_000 < hub._present.size <= 100_000
        for number in range(10):
            _, state = await hub.present(f"r-{number}")
            assert state.texts[0].text == "x" * 30_000
            await hub.delete(f"r-{number}")
        assert hub._present.size == 0


async def test_a_state_that_is_larger_than_the_bound_is_told_all_the_same() -> None:
    async with asyncio.timeout(WAIT_S), Hub(MemoryStore(), Settings(page_cache_bytes=0)) as hub:
        inlet = await hub.create("r")
        await inlet.append([text(1), text(2)])

        assert (await hub.present("r"))[1].texts[0].text == "1 2 "
        assert hub._present.size == 0
