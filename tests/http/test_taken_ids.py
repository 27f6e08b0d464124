"""Between the check of a request and what it does, the id of its run may become another user's.

The run is deleted, and somebody else begins a run of its id. The request must neither change that
run nor learn anything of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

import runcast
from runcast._http.guard import gate
from runcast.stores.memory import MemoryStore
from runcast.testing import FaultyStore
from tests.http.asking import asking
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

ASYNC = {"prefer": "respond-async"}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "answer": ("POST", "/runs/r/interrupts/q", {"type": "accept"}),
    "message": ("POST", "/runs/r/messages", {"data": "hello"}),
    "cancel": ("POST", "/runs/r/cancel", {}),
    "delete": ("DELETE", "/runs/r", None),
    "deliver": ("POST", "/runs/r/deliveries", {"target": "webhook:audit"}),
    "see": ("GET", "/runs/r", None),
    "list_files": ("GET", "/runs/r/files", None),
    "download": ("GET", "/runs/r/files/a.txt", None),
    "write": ("POST", "/runs/r/events?producer=p&sequence=1", []),
    "renew": ("POST", "/runs/r/heartbeat", None),
    "expire": ("POST", "/runs/r/interrupts/q/expire", None),
}


@runcast.function
async def report() -> str:
    return (await runcast.ask("May I?", interrupt_id="q")).type


@runcast.function
def write_file() -> None:
    (runcast.workspace() / "data" / "outputs" / "a.txt").write_text("secret")


async def authorize(request: Request) -> runcast.Access:
    name = request.headers["user"]
    return runcast.Access(subject=name, labels={"owner": name})


async def begin(hub: runcast.OpenHub, owner: str, function: Any = report) -> None:
    """Begin the run `r`, and return once it waits or has ended."""
    await hub.start(function, run_id="r", labels={"owner": owner})
    async for event in hub.watch("r"):
        if event.type in ("interrupt_request", "done"):
            break


class Taking:
    """Takes the id of the run `r` for a run of somebody else."""

    def __init__(self, hub: runcast.OpenHub, function: Any = report) -> None:
        self.info: runcast.LogInfo | None = None
        """The run that took the id."""
        self.hub = hub
        self._function = function

    async def take(self) -> None:
        await self.hub.cancel("r")
        await self.hub.hub.delete("r")
        await begin(self.hub, "ada", self._function)
        self.info = await self.hub.info("r")


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Taking], None]:
    """Let the id be taken as soon as a request was checked."""

    def begin(taking: Taking) -> None:
        find = gate.Gate._find

        async def find_and_lose(self: gate.Gate, run_id: str) -> runcast.LogInfo | None:
            found = await find(self, run_id)
            await taking.take()
            return found

        monkeypatch.setattr(gate.Gate, "_find", find_and_lose)

    return begin


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Taking], None]:
    """Let the id be taken when a request is about to cancel its run."""

    def begin(taking: Taking) -> None:
        hub = taking.hub
        cancel = hub.cancel

        async def lose_and_cancel(run_id: str, reason: str, **how: Any) -> None:
            monkeypatch.setattr(hub, "cancel", cancel)
            await taking.take()
            await cancel(run_id, reason, **how)

        monkeypatch.setattr(hub, "cancel", lose_and_cancel)

    return begin


@asynccontextmanager
async def serving(
    tmp_path: Path, store: runcast.Store | None = None, **how: Any
) -> AsyncIterator[tuple[runcast.OpenHub, httpx2.AsyncClient]]:
    channels = tmp_path / "channels.toml"
    channels.write_text('[webhook.audit]\nto = "http://127.0.0.1:9/"\nallow = "127.0.0.0/8"\n')
    settings = runcast.Settings.load(channels_file=str(channels), shutdown_grace_s=0)
    async with runcast.OpenHub(
        store or MemoryStore(), functions=[report, write_file], settings=settings
    ) as hub:
        app = runcast.asgi(hub, **{"authorize": authorize, **how})
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers={"user": "bob"}
        ) as client:
            yield hub, client


def unknown(answer: httpx2.Response) -> bool:
    """Whether an answer is that to a run that does not exist."""
    return answer.status_code == 404 and answer.json()["detail"] == "there is no run 'r'"


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_does_nothing_to_a_run_that_took_the_id_after_its_check(
    name: str, tmp_path: Path, takes: Callable[[Taking], None]
) -> None:
    method, path, body = REQUESTS[name]
    function = write_file if name in ("list_files", "download") else report
    async with serving(tmp_path) as (hub, client):
        await begin(hub, "bob", function)
        takes(taking := Taking(hub, function))
        answer = await client.request(method, path, json=body)
        assert taking.info is not None
        assert await hub.info("r") == taking.info
        assert not hub.deliveries.of("r")
        assert taking.info.epoch not in answer.text
        if name in ("write", "renew", "expire"):  # the lease protects the run
            assert answer.status_code == 403
        else:
            assert unknown(answer), answer.text


@pytest.mark.parametrize("path", ["/invoke/report", "/runs"])
async def test_a_run_that_took_the_id_after_the_check_is_not_replaced(
    path: str, tmp_path: Path, takes: Callable[[Taking], None]
) -> None:
    async with serving(tmp_path) as (hub, client):
        await begin(hub, "bob")
        takes(taking := Taking(hub))
        body = {"run_id": "r", "replace": True, **({"name": "train"} if path == "/runs" else {})}
        refused = await client.post(path, json=body, headers=ASYNC)
        assert refused.status_code == 409
        assert taking.info is not None
        assert taking.info.epoch not in refused.text
        assert await hub.info("r") == taking.info


@pytest.mark.parametrize("path", ["/invoke/report", "/runs"])
async def test_a_run_is_replaced_by_a_user_who_may_delete_it(path: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client):
        await begin(hub, "bob")
        old = await hub.info("r")
        body = {"run_id": "r", "replace": True, **({"name": "train"} if path == "/runs" else {})}
        begun = await client.post(path, json=body, headers=ASYNC)
        assert begun.is_success
        assert (await hub.info("r")).epoch > old.epoch


@pytest.mark.parametrize("name", ["answer", "message"])
async def test_what_is_about_to_be_stored_is_not_stored_in_a_run_that_took_the_id(
    name: str, tmp_path: Path
) -> None:
    method, path, body = REQUESTS[name]
    store = FaultyStore(MemoryStore())
    async with serving(tmp_path, store) as (hub, client), asyncio.timeout(WAIT_S):
        await begin(hub, "bob")
        store.hold()
        asking = asyncio.create_task(client.request(method, path, json=body))
        await store.wait_held()
        await hub.hub.create("r", labels={"owner": "ada"}, replace=True)
        taken = await hub.info("r")
        store.release()
        assert unknown(await asking)
        assert await hub.info("r") == taken


async def test_an_invocation_delivers_no_run_that_took_the_id_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as (hub, client):
        taking, start = Taking(hub), hub.start

        async def start_and_lose(*args: Any, **how: Any) -> object:
            monkeypatch.setattr(hub, "start", start)
            run = await start(*args, **how)
            await taking.take()
            return run

        monkeypatch.setattr(hub, "start", start_and_lose)
        body = {"run_id": "r", "deliver": ["webhook:audit"]}
        begun = await client.post("/invoke/report", json=body, headers=ASYNC)
        assert begun.status_code == 202
        assert taking.info is not None
        assert not hub.deliveries.of("r")


async def test_a_client_that_leaves_cancels_no_run_that_took_the_id_of_its_own(
    losing: Callable[[Taking], None],
) -> None:
    async with runcast.OpenHub(functions=[report]) as hub:
        app = runcast.asgi(hub, authorize=runcast.everyone)
        losing(taking := Taking(hub))
        body = b'{"run_id": "r", "on_disconnect": "cancel"}'
        about = {"path": "/invoke/report", "headers": {"accept": "text/event-stream"}, "body": body}
        async with asyncio.timeout(WAIT_S), asking(app, **about) as sent:
            while b"interrupt_request" not in (await sent.get()).get("body", b""):
                pass
        assert taking.info is not None
        assert await hub.info("r") == taking.info


async def test_a_writer_does_not_learn_how_a_run_that_took_the_id_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as (hub, client):
        begun = await client.post("/runs", json={"run_id": "r", "name": "train"})
        taking, check = Taking(hub), hub.writers._check

        async def check_and_lose(*args: Any) -> object:
            found = await check(*args)
            await taking.take()
            await hub.answer("r", "q", {"type": "response", "args": "secret"})
            return found

        monkeypatch.setattr(hub.writers, "_check", check_and_lose)
        lease = {"runcast-lease": begun.json()["lease_id"]}
        refused = await client.post("/runs/r/interrupts/q/expire", headers=lease)
        assert (refused.status_code, refused.json()["code"]) == (409, "stale")
        assert "secret" not in refused.text


async def test_a_run_that_begins_while_another_of_its_id_is_deleted_stays(
    tmp_path: Path, losing: Callable[[Taking], None]
) -> None:
    async with serving(tmp_path, authorize=runcast.everyone) as (hub, client):
        await begin(hub, "bob")
        losing(taking := Taking(hub))
        deleted = await client.delete("/runs/r")
        assert deleted.status_code == 204
        assert taking.info is not None
        assert await hub.info("r") == taking.info
