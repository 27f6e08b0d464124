"""Deliveries over HTTP: to the names of the channels file, and to nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request

import runcast
from runcast._http.api.delivering import DELIVERY_SCHEMAS
from runcast._http.guard.access import Authorize
from runcast.channels.delivery_options import FINISHES
from runcast.channels.document import SHOWS
from runcast.channels.outcome import Receipt
from runcast.errors import InvalidValue, NotFound
from runcast.stores.base import LogInfo
from runcast.testing import FakeTelegram
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


@runcast.function
async def report(topic: str = "rain") -> str:
    return f"All about {topic}."


@runcast.function
async def stay() -> None:
    await anext(runcast.inbox())


async def authorize(request: Request) -> runcast.Access | None:
    """Let ada deliver her drafts; let bob see all of her runs."""
    if request.headers.get("user") == "ada":
        return runcast.Access(
            subject="ada", labels={"owner": "ada"}, limits={"deliver": {"draft": "yes"}}
        )
    return runcast.Access(labels={"owner": "ada"}, actions=["see", "invoke"])


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram(chats=[42, 43]) as platform:
        yield platform


@pytest.fixture
def settings(telegram: FakeTelegram, tmp_path: Path) -> runcast.Settings:
    file = tmp_path / "channels.toml"
    file.write_text(
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\nallow = "127.0.0.0/8"\n'
        '[telegram.ops]\nto = "42"\n[telegram.team]\nto = "43"\n'
    )
    return runcast.Settings(channels_file=str(file))


@asynccontextmanager
async def serving(
    settings: runcast.Settings, authorize: Authorize = runcast.everyone
) -> AsyncIterator[tuple[runcast.OpenHub, httpx2.AsyncClient]]:
    async with runcast.OpenHub(functions=[report], settings=settings) as hub:
        app = runcast.asgi(hub, authorize=authorize)
        async with (
            app.lifespan(),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app),
                base_url="http://127.0.0.1",
                headers={"Accept": "application/json"},
            ) as client,
        ):
            yield hub, client


async def receipts_of(hub: runcast.OpenHub, run_id: str) -> list[Receipt | None]:
    async with asyncio.timeout(WAIT_S):
        return [await delivery.wait() for delivery in hub.deliveries.of(run_id)]


async def test_an_invocation_names_the_chats_that_its_run_is_delivered_to(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, client):
        body = {"run_id": "r", "deliver": ["telegram:ops", "telegram:team", "telegram:ops"]}
        assert (await client.post("/invoke/report", json=body)).status_code == 200
        receipts = await receipts_of(hub, "r")
    assert [receipt and receipt.status for receipt in receipts] == ["delivered"] * 2
    assert telegram.shown(42) == telegram.shown(43) == ["All about rain."]


async def test_a_repeated_invocation_delivers_once(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, client):
        for _ in range(2):
            answer = await client.post(
                "/invoke/report",
                json={"inputs": {}, "deliver": ["telegram:ops"]},
                headers={"Idempotency-Key": "k"},
            )
            assert answer.status_code == 200
            await receipts_of(hub, answer.headers["runcast-run-id"])
    assert telegram.shown(42) == ["All about rain."]


async def test_what_a_delivery_shows_is_said_by_the_request_else_by_the_channels_file(
    settings: runcast.Settings, telegram: FakeTelegram, tmp_path: Path
) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(file.read_text().replace('to = "43"', 'to = "43"\nshows = "notice"'))
    async with serving(settings) as (hub, client):
        async with hub.run("work", run_id="r"):
            runcast.tool_call("look")
            runcast.content("It rains.")
        for target, asked in (("ops", {"shows": "answer"}), ("team", {})):
            body = {"target": f"telegram:{target}", **asked}
            answer = await client.post("/runs/r/deliveries", json=body)
            assert answer.status_code == 201
        await receipts_of(hub, "r")
    assert telegram.shown(42) == ["It rains."]
    assert telegram.shown(43) == ["✓ work is done\n\nIt rains."]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"shows": "all"}, "expected shows to be answer, tools, steps or notice; got 'all'"),
        ({"shows": ""}, "expected shows to be answer, tools, steps or notice; got ''"),
        ({"finish": "later"}, "expected finish to be auto, in_place or fresh; got 'later'"),
        ({"shows": 1}, "Expected `str | null`, got `int` - at `$.shows`"),
    ],
)
async def test_a_request_for_another_way_is_refused(
    settings: runcast.Settings, telegram: FakeTelegram, given: dict[str, object], said: str
) -> None:
    async with serving(settings) as (hub, client):
        async with hub.run("work", run_id="r"):
            pass
        body = {"target": "telegram:ops", **given}
        answer = await client.post("/runs/r/deliveries", json=body)
        assert answer.status_code == 400
        assert said in answer.json()["detail"]
    assert telegram.calls == []


def test_the_choices_of_a_request_are_those_of_deliveries() -> None:
    schema = DELIVERY_SCHEMAS["GivenDelivery"]["properties"]
    assert schema["shows"]["enum"] == [*SHOWS, None]
    assert schema["finish"]["enum"] == [*FINISHES, None]


async def test_a_run_that_has_begun_is_delivered_once(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, client):
        await client.post("/invoke/report", json={"run_id": "r"})
        target = {"target": "telegram:ops"}
        begun = await client.post("/runs/r/deliveries", json=target)
        assert begun.status_code == 201
        assert begun.json()["target"] == "telegram:ops"
        receipts = await receipts_of(hub, "r")
        again = await client.post("/runs/r/deliveries", json=target)
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        missing = await client.post("/runs/none/deliveries", json=target)
        assert missing.status_code == 404
    assert [receipt and receipt.status for receipt in receipts] == ["delivered"]
    assert telegram.shown(42) == ["All about rain."]


@pytest.mark.parametrize(
    "target",
    [
        "telegram://42?token=123456:S3CRET",
        "https://169.254.169.254/S3CRET",
        "telegram:none",
        "",
        "x" * 201,
    ],
)
async def test_what_the_channels_file_does_not_name_is_refused(
    settings: runcast.Settings, telegram: FakeTelegram, target: str
) -> None:
    async with serving(settings) as (hub, client):
        await client.post("/invoke/report", json={"run_id": "r"})
        refused = [
            await client.post("/runs/r/deliveries", json={"target": target}),
            await client.post("/invoke/report", json={"run_id": "s", "deliver": [target]}),
        ]
        for answer in refused:
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value")
            assert "telegram:team" not in answer.text
            assert "token" not in answer.text
        assert (await client.get("/runs/s")).status_code == 404  # no run began
        assert not hub.deliveries.of("r")
    assert not telegram.calls


async def test_the_application_decides_who_may_deliver_which_run(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings, authorize=authorize) as (hub, client):

        async def post(user: str, path: str, **body: Any) -> int:
            return (await client.post(path, json=body, headers={"user": user})).status_code

        draft, target = {"draft": "yes"}, ["telegram:ops"]
        assert await post("ada", "/invoke/report", run_id="a") == 200
        assert await post("ada", "/invoke/report", run_id="b", deliver=target) == 403
        assert await post("ada", "/runs/b/deliveries", target=target[0]) == 404
        assert await post("ada", "/runs/a/deliveries", target=target[0]) == 403
        assert await post("bob", "/runs/a/deliveries", target=target[0]) == 403
        assert await post("bob", "/invoke/report", run_id="c", deliver=target) == 403
        assert not telegram.calls
        given = {"run_id": "d", "labels": draft, "deliver": target}
        assert await post("ada", "/invoke/report", **given) == 200
        await receipts_of(hub, "d")
    assert telegram.shown(42) == ["All about rain."]


async def test_a_client_has_the_server_deliver_a_run(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, http):
        await http.post("/invoke/report", json={"run_id": "r"})
        async with hub.client() as client:
            delivery_id = await client.deliver("r", "telegram:ops")
            assert [each.delivery_id for each in hub.deliveries.of("r")] == [delivery_id]
            with pytest.raises(InvalidValue):
                await client.deliver("r", "telegram://42?token=123456:S3CRET")
        await receipts_of(hub, "r")
    assert telegram.shown(42) == ["All about rain."]


async def test_what_became_of_deliveries_is_listed_and_waited_for(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, http), hub.client() as client:
        run_id = await client.invoke("report", deliver=["telegram:ops"])
        [begun] = await client.deliveries(run_id)
        assert (begun.run_id, begun.target) == (run_id, "telegram:ops")
        ended = await client.receipt(run_id, begun.delivery_id)
        assert (ended.status, ended.message_ids, ended.reason) == ("delivered", ("1",), "")
        assert ended.ended_at is not None
        assert ended.ended_at >= ended.begun_at
        assert await client.deliveries(run_id) == [ended]
        with pytest.raises(NotFound):
            await client.receipt(run_id, "another")
        with pytest.raises(InvalidValue, match="telegram:none"):
            await client.invoke("report", deliver="telegram:none")  # one text is one name
        other = await http.get(f"/runs/{run_id}/deliveries?wait_s=61")
        assert (other.status_code, other.json()["code"]) == (400, "invalid_value")
        assert (await http.get("/runs/none/deliveries")).status_code == 404


async def test_a_delivery_that_goes_on_is_said_to(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, http):
        async with hub.run("work", run_id="r"):
            delivery = await hub.deliver("r", "telegram:ops")
            path = f"/runs/r/deliveries?wait_s=0.05&delivery_id={delivery.delivery_id}"
            [listed] = (await http.get(path)).json()["deliveries"]
            assert (listed["status"], listed["ended_at"]) == ("delivering", None)
        [listed] = (await http.get("/runs/r/deliveries?wait_s=5")).json()["deliveries"]
        assert listed["status"] == "delivered"


async def test_only_who_may_see_a_run_sees_its_deliveries(settings: runcast.Settings) -> None:
    async with serving(settings, authorize=authorize) as (hub, http):
        async with hub.run("work", run_id="r", labels={"owner": "eve"}):
            pass
        for user in ("ada", "bob"):
            answer = await http.get("/runs/r/deliveries", headers={"user": user})
            assert answer.status_code == 404


async def test_the_same_request_at_the_same_time_begins_one_delivery(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async with serving(settings) as (hub, client):
        await client.post("/invoke/report", json={"run_id": "r"})
        target = {"target": "telegram:ops"}
        posts = (client.post("/runs/r/deliveries", json=target) for _ in range(5))
        answers = await asyncio.gather(*posts)
        assert [answer.status_code for answer in answers] == [201] * 5
        assert len({answer.text for answer in answers}) == 1
        await receipts_of(hub, "r")
    assert telegram.shown(42) == ["All about rain."]


async def test_a_delivery_that_failed_before_anything_was_sent_is_begun_again(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    telegram.chats.remove(42)
    path, target = "/runs/r/deliveries", {"target": "telegram:ops"}

    async def ended(client: httpx2.AsyncClient) -> dict[str, Any]:
        [listed] = (await client.get(f"{path}?wait_s=5")).json()["deliveries"]
        assert isinstance(listed, dict)
        return listed

    async with serving(settings) as (_, client):
        await client.post("/invoke/report", json={"run_id": "r"})
        first = await client.post(path, json=target)
        failed = await ended(client)
        assert (failed["status"], failed["may_be_shown"]) == ("failed", False)
        telegram.chats.add(42)  # somebody invites the bot
        again = await client.post(path, json=target)
        assert (again.status_code, again.json()) == (201, first.json())
        done = await ended(client)
        assert (done["status"], done["reason"]) == ("delivered", "")
        assert done["may_be_shown"]
        refused = await client.post(path, json=target)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "was delivered to telegram:ops already" in refused.text
    assert telegram.shown(42) == ["All about rain."]


async def test_a_repeated_invocation_begins_a_delivery_again_that_sent_nothing(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    telegram.chats.remove(42)
    async with serving(settings) as (hub, client):
        for _ in range(3):
            answer = await client.post(
                "/invoke/report",
                json={"inputs": {}, "deliver": ["telegram:ops"]},
                headers={"Idempotency-Key": "k"},
            )
            assert answer.status_code == 200
            await receipts_of(hub, answer.headers["runcast-run-id"])
            telegram.chats.add(42)
    assert telegram.shown(42) == ["All about rain."]


async def test_a_run_with_the_id_of_a_deleted_one_has_none_of_its_deliveries(
    settings: runcast.Settings, telegram: FakeTelegram
) -> None:
    async def users(request: Request) -> runcast.Access:
        user = request.headers["user"]
        return runcast.Access(subject=user, labels={"owner": user})

    async with serving(settings, authorize=users) as (hub, client):
        ada, bob = {"user": "ada"}, {"user": "bob"}
        body = {"run_id": "r", "deliver": ["telegram:ops"]}
        await client.post("/invoke/report", json=body, headers=ada)
        await receipts_of(hub, "r")
        listed = await client.get("/runs/r/deliveries", headers=ada)
        assert len(listed.json()["deliveries"]) == 1
        assert (await client.delete("/runs/r", headers=ada)).status_code == 204
        await client.post("/invoke/report", json={"run_id": "r"}, headers=bob)
        listed = await client.get("/runs/r/deliveries?wait_s=5", headers=bob)
    assert listed.json() == {"deliveries": []}


async def test_a_wait_for_deliveries_ends_for_a_user_who_may_not_see_the_run_any_more(
    settings: runcast.Settings, telegram: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, waits = {"ada"}, asyncio.Event()

    async def users(request: Request) -> runcast.Access | None:
        user = request.headers["user"]
        return runcast.Access(subject=user, labels={"owner": user}) if user in allowed else None

    async with serving(settings, authorize=users) as (hub, client):
        ada = {"user": "ada"}
        wait_for_all = hub.deliveries.wait

        async def wait(run: LogInfo, delivery_id: str) -> None:
            waits.set()
            await wait_for_all(run, delivery_id)

        monkeypatch.setattr(hub.deliveries, "wait", wait)
        await hub.start(stay, run_id="r", labels={"owner": "ada"})
        await hub.deliver("r", "telegram:ops")
        path = "/runs/r/deliveries?wait_s=60"
        waiting = asyncio.create_task(client.get(path, headers=ada))
        async with asyncio.timeout(WAIT_S):
            await waits.wait()
            allowed.clear()
            await hub.revoke("ada")
            refused = await waiting
        await hub.cancel("r")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
