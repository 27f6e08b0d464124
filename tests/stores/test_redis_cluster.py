"""Nodes on a real cluster: each hears what it watches, also after another member took over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from runcast.errors import StoreUnavailable
from runcast.stores.base import Append, Change, Producer
from runcast.stores.redis import server
from runcast.stores.redis.store import RedisStore
from runcast.testing.contract.harness import append, expect_log, only, record
from tests.stores.cluster import START_S, running_cluster

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]


class Ear:
    """Notes what a store says of other nodes' changes."""

    def __init__(self, store: RedisStore) -> None:
        self.heard: list[tuple[str, int, bool]] = []
        self.missed = asyncio.Event()
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        store.listen(self._hear)

    def _hear(self, change: Change | None) -> None:
        if change is None:
            self.missed.set()
            return
        self.heard.append((change.log_id, change.info.head, bool(change.pages)))
        if change.info.closed:
            self._ended.put_nowait(change.log_id)

    async def until_end_of(self, log_id: str) -> None:
        """Wait until a log has ended: what was changed before, was heard before."""
        async with asyncio.timeout(5):
            while await self._ended.get() != log_id:
                pass


async def ear_of(one: RedisStore, two: RedisStore, *others: str) -> Ear:
    """Let one store watch the log `a`, which the other makes beside others; return its ear."""
    await one.focus()
    for log_id in ("a", *others):
        await two.create(log_id)
        await append(two, log_id, record(1))
    await one.watch("a")
    return Ear(one)


async def test_a_node_of_a_cluster_hears_appends_to_watched_logs_only(tmp_path: Path) -> None:
    async with running_cluster(tmp_path) as cluster:
        url = cluster.url("ears")
        async with RedisStore(url) as one, RedisStore(url) as two:
            ear, own = await ear_of(one, two, "b", "end"), Ear(two)
            for number in range(2, 5):
                await append(two, "a", record(number))
                await append(two, "b", record(number))
            await append(two, "end", close=True)
            await ear.until_end_of("end")

    assert ear.heard == [("a", 2, True), ("a", 3, True), ("a", 4, True), ("end", 1, False)]
    assert own.heard == []


async def test_a_node_that_only_watches_follows_its_namespace_to_another_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PING_S", 0.1)
    async with running_cluster(tmp_path) as cluster:
        replica, url = await cluster.replicate("ears"), cluster.url("ears")
        async with RedisStore(url) as one, RedisStore(url) as two:
            ear = await ear_of(one, two, "end")

            await replica.take_over()
            async with asyncio.timeout(START_S):
                await ear.missed.wait()  # it calls nothing by itself, and finds out
            ear.heard.clear()
            for number in range(2, 5):
                await append(two, "a", record(number))
            await append(two, "end", close=True)
            await ear.until_end_of("end")

    assert ear.heard == [("a", 2, True), ("a", 3, True), ("a", 4, True), ("end", 1, False)]


async def test_a_namespace_that_was_elsewhere_for_a_while_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_PING_S", 1000.0)  # so that nobody looks meanwhile
    async with running_cluster(tmp_path) as cluster:
        replica, owner = await cluster.replicate("ears"), await cluster.owner("ears")
        url = cluster.url("ears")
        async with RedisStore(url) as one, RedisStore(url) as two:
            ear = await ear_of(one, two, "end")

            await replica.take_over()
            await append(two, "a", record(2))  # here `one` does not listen, and is forgotten
            await owner.until_replica()
            await owner.take_over()
            monkeypatch.setattr(server, "_PING_S", 0.0)
            await append(two, "end", close=True)  # wakes `one`, which looks

            async with asyncio.timeout(START_S):
                await ear.missed.wait()
            ear.heard.clear()
            await append(two, "a", record(3))
            await two.create("last")
            await append(two, "last", close=True)
            await ear.until_end_of("last")

    assert ("a", 3, True) in ear.heard


async def test_a_commit_is_unknown_if_its_member_was_replaced_before_replicas_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_cluster(tmp_path) as cluster:
        replica = await cluster.replicate("ears")
        async with RedisStore(cluster.url("ears", wait_replicas=1)) as store:
            await store.create("a")
            await append(store, "a", record(1))
            commit = store._server.commit

            async def commit_and_fail_over(*arguments: Any) -> Any:
                monkeypatch.undo()
                answers = await commit(*arguments)
                await replica.take_over()
                return answers

            monkeypatch.setattr(store._server, "commit", commit_and_fail_over)
            asked = Append("a", [record(2)], producer=Producer("p", 1))
            with pytest.raises(StoreUnavailable, match="another member took over"):
                await store.commit([asked])
            only((await store.commit([asked]))[0])  # as the hub does
            await expect_log(store, "a", [record(1), record(2)])
