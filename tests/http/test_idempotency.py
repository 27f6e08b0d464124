"""`Idempotency-Key`: an invocation that is sent again is the same one (R-13.12, R-13.13)."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runcast._http.api.idempotency import MAX_KEY_CHARS, digest_of, parse_key
from tests.http.client import Answer
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

COUNT = b'{"inputs": {"n": 3}}'
ASYNC = {"Prefer": "respond-async"}


async def invoke(
    server: Server, key: str, body: bytes = COUNT, function: str = "count", **headers: str
) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return await server.post(f"/invoke/{function}", body, {"Idempotency-Key": key, **fields})


# --- the same again -------------------------------------------------------------------------------


async def test_a_repeated_invocation_gets_the_stream_of_the_first_from_its_start(
    server: Server, name: Name
) -> None:
    key = f'"{name()}"'
    first = await invoke(server, key)
    again = await invoke(server, key)

    assert first.status == again.status == 200
    assert again.body == first.body
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["runcast-run-id"] == first.headers["runcast-run-id"]
    assert "runcast-repeated" not in first.headers
    assert again.headers["runcast-repeated"] == "true"


async def test_it_goes_on_where_the_client_says_that_it_was(server: Server, name: Name) -> None:
    key = name()
    first = await invoke(server, key)
    ids = [line[4:].decode() for line in first.body.split(b"\n") if line.startswith(b"id: ")]

    rest = await invoke(server, key, Last_Event_ID=ids[1])
    end = await invoke(server, key, Last_Event_ID=ids[-1])

    assert ids[1].encode() not in rest.body
    assert first.body.endswith(rest.body[rest.body.index(b"id: ") :])
    assert end.status == 204


@pytest.mark.parametrize("body", [b"{}", b'{"replace": true}'])
async def test_a_client_that_comes_back_without_a_key_begins_no_other_run(
    server: Server, body: bytes
) -> None:
    by_header = await server.post("/invoke/count", body, {"Last-Event-ID": "01hq3v5k2m-2"})
    by_query = await server.post("/invoke/count?lastEventId=01hq3v5k2m-2", body)

    for refused in (by_header, by_query):
        assert refused.problem() == (400, "invalid_value")
        assert "Idempotency-Key" in refused.detail()


async def test_it_is_answered_in_the_form_that_is_asked_for(server: Server, name: Name) -> None:
    key = name()
    first = await invoke(server, key, b'{"inputs": {"a": 1}}', "add")
    again = await invoke(server, key, b'{"inputs": {"a": 1}}', "add")
    lines = await invoke(server, key, b'{"inputs": {"a": 1}}', "add", Accept="application/x-ndjson")
    later = await invoke(server, key, b'{"inputs": {"a": 1}}', "add", **ASYNC)

    assert first.json() == again.json()
    assert json.loads(lines.body.splitlines()[-1])["type"] == "done"
    assert (later.status, later.json()["run_id"]) == (202, first.json()["run_id"])


async def test_a_failure_is_repeated_too(server: Server, name: Name) -> None:
    key = name()
    first = await invoke(server, key, b"", "fail")
    again = await invoke(server, key, b"", "fail")

    assert first.problem() == again.problem() == (500, "function_error")
    assert first.body == again.body


async def test_a_run_at_work_is_watched_by_who_repeats_and_not_ended_by_leaving(
    server: Server, name: Name
) -> None:
    script = server.scripts.new(name())
    body = json.dumps({"inputs": {"key": script.key}, "on_disconnect": "cancel"}).encode()
    fields = {"Content-Type": "application/json", "Idempotency-Key": script.key}
    target = "/invoke/script?cancel_on_disconnect=true"
    async with server.watch(target, fields, method="POST", body=body) as first:
        script.tell("a")
        await first.read_until(b'"text":"a"')
        async with server.watch(target, fields, method="POST", body=body) as again:
            await again.read_until(b'"text":"a"')
        await server.eventually(lambda: len(server.app.streams) == 1)
        assert not script.finished.is_set()

        waiting = asyncio.create_task(
            server.post(
                "/invoke/script",
                body,
                {"Idempotency-Key": script.key, "Accept": "application/json"},
            )
        )
        script.end()
        assert (await waiting).status == 200
        await first.rest()


async def test_of_many_that_come_at_once_one_begins_the_run(server: Server, name: Name) -> None:
    key = name()
    answers = await asyncio.gather(*(invoke(server, key) for _ in range(10)))

    assert len({answer.headers["runcast-run-id"] for answer in answers}) == 1
    assert len({answer.body for answer in answers}) == 1
    assert [answer.headers.get("runcast-repeated") for answer in answers].count(None) == 1


async def test_what_could_not_begin_may_begin_later(server: Server, name: Name) -> None:
    key = name()
    refused = await invoke(server, key, b'{"inputs": {"n": "x"}}')
    begun = await invoke(server, key)

    assert refused.problem() == (422, "invalid_inputs")
    assert begun.status == 200
    assert "runcast-repeated" not in begun.headers


async def test_spaces_the_order_of_fields_and_secrets_make_no_other_body(
    server: Server, name: Name
) -> None:
    key = name()
    first = await invoke(server, key, b'{"inputs": {"n": 1, "text": "x"}, "_secrets": {"A": "b"}}')
    again = await invoke(server, key, b' {"inputs":{"text":"x","n":1}}')

    assert again.headers["runcast-repeated"] == "true"
    assert first.body == again.body


async def test_a_key_in_quotes_is_the_same_as_one_without(server: Server, name: Name) -> None:
    key = name()
    first = await invoke(server, key)
    again = await invoke(server, f'"{key}"')

    assert first.headers["runcast-run-id"] == again.headers["runcast-run-id"]


# --- something else -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b'{"inputs": {"n": 4}}', b'{"inputs": {"n": 3}, "labels": {"a": "b"}}']
)
async def test_a_key_with_another_body_is_refused(server: Server, name: Name, body: bytes) -> None:
    key = name()
    await invoke(server, key)

    answer = await invoke(server, key, body)

    assert answer.problem() == (422, "key_reused")
    assert "new key" in answer.detail()


async def test_keys_of_two_functions_do_not_meet(server: Server, name: Name) -> None:
    key = name()
    counted = await invoke(server, key)
    echoed = await invoke(server, key, b"", "echo")

    assert echoed.json()["result"] is None
    assert echoed.headers["runcast-run-id"] != counted.headers["runcast-run-id"]


async def test_a_run_id_and_a_key_do_not_go_together(server: Server, name: Name) -> None:
    answer = await invoke(server, name(), b'{"run_id": "x"}', "echo")

    assert answer.problem() == (409, "conflict")
    assert "Idempotency-Key" in answer.detail()


async def test_replace_does_not_begin_a_repeated_run_anew(server: Server, name: Name) -> None:
    key, body = name(), b'{"inputs": {"n": 1}, "replace": true}'
    first = await invoke(server, key, body)
    again = await invoke(server, key, body)

    assert again.headers["runcast-repeated"] == "true"
    assert first.body == again.body


async def test_a_run_that_was_begun_anew_by_its_id_is_not_what_the_key_stood_for(
    server: Server, name: Name
) -> None:
    key = name()
    first = await invoke(server, key)
    run_id = first.headers["runcast-run-id"]
    await server.post("/invoke/echo", b'{"run_id": "%b", "replace": true}' % run_id.encode())

    assert (await invoke(server, key)).problem() == (422, "key_reused")


async def test_a_key_is_free_again_once_its_run_is_deleted(server: Server, name: Name) -> None:
    key = name()
    first = await invoke(server, key)
    await server.fetch("DELETE", f"/runs/{first.headers['runcast-run-id']}")

    again = await invoke(server, key, b'{"inputs": {"n": 1}}')

    assert again.status == 200
    assert "runcast-repeated" not in again.headers


async def test_the_key_and_what_was_asked_are_not_shown(server: Server, name: Name) -> None:
    key = name()
    run_id = (await invoke(server, key)).headers["runcast-run-id"]

    shown = (await server.fetch("GET", f"/runs/{run_id}")).json()

    assert shown["labels"] == {}
    assert key not in json.dumps(shown)


# --- restarts and several servers -----------------------------------------------------------------


async def test_a_key_outlives_the_server(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with serving_here(store=store) as server:
        first = await invoke(server, "k")
    async with serving_here(store=store) as server:
        again = await invoke(server, "k")
        other = await invoke(server, "k", b'{"inputs": {"n": 9}}')

    assert again.body == first.body
    assert other.problem() == (422, "key_reused")


async def test_two_servers_on_one_store_begin_one_run(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with serving_here(store=store) as one, serving_here(store=store) as two:
        for round_ in range(5):
            answers = await asyncio.gather(
                *(invoke(server, f"k{round_}") for server in (one, two, one, two))
            )
            assert len({answer.body for answer in answers}) == 1

        script = one.scripts.new("gate")
        body = b'{"inputs": {"key": "gate"}}'
        begun = await invoke(one, "gate", body, "script", **ASYNC)
        waiting = asyncio.create_task(
            invoke(two, "gate", body, "script", Accept="application/json")
        )
        async with two.watch(begun.headers["location"] + "/events") as stream:
            await stream.event()
            script.end()
            await stream.rest()

        assert (await waiting).json()["run_id"] == begun.json()["run_id"]


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        '""',
        '"',
        '"a',
        'a"b',
        '"a"b"',
        '"a", "b"',
        "a,b",
        "a;b=1",
        "a b",
        "é",
        '"é"',
        "\u202e",
        "a\\",
        '"\\n"',
        "x" * (MAX_KEY_CHARS + 1),
        '"' + "x" * (MAX_KEY_CHARS + 1) + '"',
    ],
)
async def test_a_key_that_is_none_is_refused(server: Server, key: str) -> None:
    answer = await invoke(server, key)

    assert answer.problem() == (400, "invalid_value")
    assert "Idempotency-Key" in answer.detail()


async def test_two_keys_are_refused(server: Server) -> None:
    answer = await invoke(server, 'a"\r\nIdempotency-Key: "b')

    assert answer.problem() == (400, "invalid_value")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        ('"a \\"b\\" \\\\c"', 'a "b" \\c'),
        ("../../x?y=z#%00", "../../x?y=z#%00"),
        ("'; drop", None),
        ("x" * MAX_KEY_CHARS, "x" * MAX_KEY_CHARS),
    ],
)
def test_keys_are_read_as_structured_strings_or_as_they_are(given: str, key: str | None) -> None:
    if key is not None:
        assert parse_key([given]) == key
    else:
        with pytest.raises(ValueError, match="Idempotency-Key"):
            parse_key([given])


def test_a_digest_does_not_tell_what_was_asked() -> None:
    assert digest_of("a", b"{}") == digest_of("a", b"")
    assert digest_of("a", b"{}") != digest_of("b", b"{}")
    assert digest_of("a", b'{"x": 1}') != digest_of("a", b'{"x": "1"}')
