"""The store in Redis: its URL, its errors, and what happens between two nodes."""

import asyncio
import contextlib
import subprocess
from pathlib import Path

import pytest

from runcast._settings import Settings
from runcast.errors import InvalidValue, RuncastError, StoreUnavailable, StoreUnusable
from runcast.events.position import Position
from runcast.stores import open_url
from runcast.stores.base import Append, Appended, Change, Producer
from runcast.stores.redis import interest, turns
from runcast.stores.redis.addresses import parse_url
from runcast.stores.redis.store import RedisStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import append, expect_log, only, record
from tests.stores.servers import StoreServer, namespace_url
from tests.waiting import until

pytestmark = pytest.mark.anyio


def store_on(url: str) -> RedisStore:
    clock = FakeClock()
    return RedisStore(url, clock, lease_clock=clock.monotonic)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_a_url_names_the_server_the_database_and_the_namespace(scheme: str) -> None:
    url = namespace_url("valkey").replace("redis://", f"{scheme}://")
    async with open_url(url, Settings(), FakeClock()) as store:
        await store.create("a")
        async with open_url(f"{url}x", Settings(), FakeClock()) as other:
            assert await other.list() == []
        assert [info.log_id for info in await store.list()] == ["a"]


@pytest.mark.parametrize("namespace", ["", "a b", "a{b}", "x" * 65])
async def test_a_namespace_that_could_mix_with_others_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidValue, match="expected a namespace"):
        open_url(f"redis://127.0.0.1:1/0?namespace={namespace}", Settings(), FakeClock())


async def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(
        StoreUnavailable, match=r"redis://127\.0\.0\.1:1/0 cannot be reached"
    ) as one:
        await store_on("redis://ada:secret@127.0.0.1:1/0").open()

    assert "secret" not in str(one.value)
    assert "127" not in one.value.public


@pytest.mark.heavy
async def test_a_wrong_password_is_no_reason_to_try_again(tmp_path: Path) -> None:
    with StoreServer(tmp_path, "--requirepass", "right") as server:
        for url in (server.url, server.url.replace("redis://", "redis://:wrong@")):
            with pytest.raises(StoreUnusable, match="refuses the user or the password"):
                await store_on(url).open()


@pytest.mark.heavy
async def test_a_server_without_memory_refuses_and_loses_nothing(tmp_path: Path) -> None:
    with StoreServer(tmp_path, "--maxmemory-policy", "noeviction") as server:
        async with store_on(server.url) as store:
            await store.create("a")
            await append(store, "a", record(1))
            server.ask("CONFIG SET maxmemory 1")
            with pytest.raises(StoreUnavailable, match="maxmemory"):
                await store.commit([Append("a", [record(2)])])
            await expect_log(store, "a", [record(1)])


@pytest.mark.parametrize("steps", range(1, 8))
async def test_a_call_that_is_cancelled_ends_as_cancelled(steps: int) -> None:
    """Whatever it waits for: sending, an answer. A task that went on would hold up a hub's end."""
    async with store_on(namespace_url("valkey")) as store:
        for _ in range(20):
            call = asyncio.create_task(store.list())
            for _ in range(steps):
                await asyncio.sleep(0)
            if call.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await call
        assert await store.list() == []


async def test_an_append_that_is_sent_again_after_another_node_wrote_is_made_once() -> None:
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        await one.create("a")
        asked = Append("a", [record(1)], producer=Producer("p", 1))
        only((await one.commit([asked]))[0])
        await append(two, "a", record(2))  # what `one` remembers of the log is old now
        again = Append("a", [record(1)], producer=Producer("p", 1, retried=True))
        outcome = (await one.commit([again]))[0]

        assert isinstance(outcome, Appended)
        assert outcome.is_resent
        await expect_log(two, "a", [record(1), record(2)])


async def test_nodes_that_append_to_one_log_at_once_stay_dense() -> None:
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        await one.create("a")
        start = asyncio.Barrier(2)

        async def write(store: RedisStore, first: int) -> None:
            await start.wait()
            for number in range(20):
                only((await store.commit([Append("a", [record(first + number)])]))[0])

        async with asyncio.TaskGroup() as group:
            group.create_task(write(one, 100))
            group.create_task(write(two, 200))

        info = await one.info("a")
        assert info.head == 40
        page = await two.read("a", Position(info.epoch, 0))
        numbers = [100 + n for n in range(20)], [200 + n for n in range(20)]
        for each in numbers:
            found = [n for n in each if b'"n":%d}' % n in page.frames]
            assert found == each


async def test_a_commit_in_several_steps_appends_to_each_log_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_STEP", 2)
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        log_ids = [f"log-{number}" for number in range(7)]
        for log_id in log_ids:
            await one.create(log_id)
            await append(one, log_id, record(1))
        for log_id in ("log-0", "log-3", "log-4", "log-5"):  # what `one` remembers is old now
            await append(two, log_id, record(2))
        group = [Append(log_id, [record(3)], close=log_id == "log-6") for log_id in log_ids]
        outcomes = [only(each) for each in await one.commit(group)]

        assert [each.last for each in outcomes] == [3, 2, 2, 3, 3, 3, 2]
        for log_id, outcome in zip(log_ids, outcomes, strict=True):
            records = [record(1), record(2), record(3)] if outcome.last == 3 else None
            await expect_log(two, log_id, records or [record(1), record(3)])


async def test_a_server_that_lost_its_scripts_is_given_them_again(tmp_path: Path) -> None:
    with StoreServer(tmp_path) as server:
        async with store_on(server.url) as store:
            await store.create("a")
            await append(store, "a", record(1))
            server.ask("SCRIPT FLUSH")
            await append(store, "a", record(2))
            server.ask("SCRIPT FLUSH")
            await expect_log(store, "a", [record(1), record(2)])


async def test_a_log_that_was_deleted_and_begun_again_is_not_taken_for_the_old_one() -> None:
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        old = await one.create("a")
        await append(one, "a", record(1))
        await two.delete("a")
        new = await two.create("a")
        (outcome,) = await one.commit([Append("a", [record(2)], epoch=old.epoch)])

        assert new.epoch != old.epoch
        assert isinstance(outcome, RuncastError)
        await expect_log(two, "a", [])


async def heard_until_closed(store: RedisStore, other: RedisStore, log_id: str) -> list[Change]:
    """Close a log at another node, and return what is heard until then."""
    heard: list[Change] = []
    is_over = asyncio.Event()

    def hear(change: Change | None) -> None:
        assert change is not None
        heard.append(change)
        if change.log_id == log_id and change.info.closed:
            is_over.set()

    stop = store.listen(hear)
    await append(other, log_id, close=True)
    async with asyncio.timeout(5):
        await is_over.wait()
    stop()
    return heard


async def test_a_node_in_focus_hears_what_is_appended_to_watched_logs_and_all_other_changes() -> (
    None
):
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        heard: list[tuple[str, int, bool]] = []

        def hear(change: Change | None) -> None:
            assert change is not None
            heard.append((change.log_id, change.info.head, bool(change.pages)))

        await one.focus()
        stop = one.listen(hear)
        for log_id in ("a", "b", "end"):
            await two.create(log_id)
            await append(two, log_id, record(1))  # the status becomes `running`
        await one.watch("a")
        for number in range(2, 5):
            await append(two, "a", record(number))
            await append(two, "b", record(number))
        only((await two.commit([Append("b", [], labels={"k": "v"})]))[0])
        one.leave("a")
        await append(two, "a", record(5))  # is heard once more, and never again
        await heard_until_closed(one, two, "end")
        await until(lambda: not one._interest._tasks)
        await one.watch("b")
        await append(two, "a", record(6))
        await append(two, "b", record(5))
        await two.create("last")
        await heard_until_closed(one, two, "last")
        stop()

        of_logs = [each for each in heard if each[0] in ("a", "b")]
        assert of_logs == [
            ("a", 0, False),
            ("a", 1, True),
            ("b", 0, False),
            ("b", 1, True),
            ("a", 2, True),
            ("a", 3, True),
            ("a", 4, True),
            ("b", 4, False),
            ("a", 5, True),
            ("b", 5, True),
        ]


async def test_nothing_is_missed_after_watching_however_often_a_log_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interest, "_MOST_LEFT", 0)  # so that each leaving is told at once
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        await one.focus()
        heads: asyncio.Queue[int] = asyncio.Queue()
        await two.create("a")
        await append(two, "a", record(1))
        stop = one.listen(lambda change: heads.put_nowait(change.info.head if change else 0))
        for head in range(2, 60):
            if head % 3:
                one.leave("a")
                if head % 2:
                    await asyncio.sleep(0)  # the leaving is on its way
            await one.watch("a")
            await append(two, "a", record(head))
            async with asyncio.timeout(5):
                while await heads.get() < head:
                    pass  # heard of before
        stop()


async def test_a_node_that_is_gone_is_not_told_of_logs_any_more() -> None:
    url = namespace_url("valkey")
    async with store_on(url) as one, store_on(url) as two:
        await one.create("a")
        await append(one, "a", record(1))
        async with store_on(url) as three:
            await three.focus()
            await three.watch("a")
            assert await one._server.call("HGET", "watched", "a") is not None
        await append(two, "a", record(2))

        assert await one._server.call("HGET", "watched", "a") is None


@pytest.mark.heavy
@pytest.mark.parametrize("is_focused", [False, True], ids=["all", "focused"])
async def test_a_listener_whose_channel_was_cut_is_told_that_anything_may_have_changed(
    tmp_path: Path, is_focused: bool
) -> None:
    with StoreServer(tmp_path, "--appendonly", "yes") as server:
        async with store_on(server.url) as one, store_on(server.url) as two:
            await one.create("a")
            if is_focused:
                await one.focus()
                await one.watch("a")
            heard: asyncio.Queue[Change | None] = asyncio.Queue()
            stop = one.listen(heard.put_nowait)
            server.kill()
            server.start()
            async with asyncio.timeout(10):
                assert await heard.get() is None
                await append(two, "a", record(1))
                change = await heard.get()
                while change is None:
                    change = await heard.get()
            stop()

            assert change.log_id == "a"
            assert change.info.head == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://a:1/0", "expected redis\\+cluster://"),
        ("redis+cluster://a:1,b:2/3", "expected no database"),
        ("redis://a:1/0?wait_replicas=9", "expected wait_replicas to be 0 to 8"),
        ("redis://a:1/0?wait_replicas=-1", "expected wait_replicas"),
    ],
)
def test_a_url_that_asks_for_what_cannot_be_is_refused(url: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        store_on(url)


async def test_a_cluster_that_is_not_there_is_named_without_its_password() -> None:
    url = "redis+cluster://ada:secret@127.0.0.1:1,127.0.0.1:2/"
    with pytest.raises(StoreUnavailable, match=r"redis\+cluster://127\.0\.0\.1:1,127") as one:
        await store_on(url).open()

    assert "secret" not in str(one.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_the_url_of_a_cluster_names_some_of_its_members(scheme: str) -> None:
    target = parse_url(f"{scheme}+cluster://u:p@one:7000,[::1]:7001,three/?namespace=n")

    tls = "s" if scheme in ("rediss", "valkeys") else ""
    assert target == (f"redis{tls}://u:p@one:7000,[::1]:7001,three/", "n", True, 0)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate that only its owner trusts."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return key, certificate


@pytest.mark.heavy
@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_a_server_behind_tls_with_a_password_is_reached(tmp_path: Path, scheme: str) -> None:
    key, certificate = certificate_in(tmp_path)
    with StoreServer(tmp_path, "--requirepass", "right") as server:
        port = server.serve_tls(key, certificate)
        url = f"{scheme}://:right@127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        async with store_on(url) as store:
            await store.create("a")
            await append(store, "a", record(1))
            await expect_log(store, "a", [record(1)])
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store_on(f"{scheme}://:right@127.0.0.1:{port}/0").open()  # not a trusted one


@pytest.mark.heavy
async def test_a_replica_that_does_not_answer_holds_up_commits_until_it_does(
    tmp_path: Path,
) -> None:
    (tmp_path / "replica").mkdir()
    with StoreServer(tmp_path, "--repl-diskless-sync-delay", "0") as server:
        async with store_on(f"{server.url}?wait_replicas=1") as store:
            with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                await store.create("a")
            options = ("--replicaof", f"127.0.0.1 {server.port}")
            with StoreServer(tmp_path / "replica", *options):
                while True:  # until the replica is connected
                    with contextlib.suppress(StoreUnavailable):
                        await store.create("a", replace=True)
                        break
                first = Append("a", [record(1)], producer=Producer("first", 1))
                while True:  # on a busy machine the replica may be late
                    with contextlib.suppress(StoreUnavailable):
                        only((await store.commit([first]))[0])
                        break
            appending = Append("a", [record(2)], producer=Producer("p", 1))
            for _ in range(2):  # made the first time, but not acknowledged at any
                with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                    await store.commit([appending])
        async with store_on(server.url) as store:
            await expect_log(store, "a", [record(1), record(2)])
