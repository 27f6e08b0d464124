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
from runcast.stores.redis.server import parse_url
from runcast.stores.redis.store import RedisStore
from runcast.testing import FakeClock
from runcast.testing.contract.harness import append, expect_log, only, record
from tests.stores.servers import StoreServer, namespace_url

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


@pytest.mark.heavy
async def test_a_listener_whose_channel_was_cut_is_told_that_anything_may_have_changed(
    tmp_path: Path,
) -> None:
    with StoreServer(tmp_path, "--appendonly", "yes") as server:
        async with store_on(server.url) as one, store_on(server.url) as two:
            await one.create("a")
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
                await append(store, "a", record(1))
            appending = Append("a", [record(2)], producer=Producer("p", 1))
            for _ in range(2):  # made the first time, but not acknowledged at any
                with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
                    await store.commit([appending])
        async with store_on(server.url) as store:
            await expect_log(store, "a", [record(1), record(2)])
