"""Unknown fields in the bodies of requests: refused by name, with the name that was meant."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from runcast._http.api import fields
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio


async def waits() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving_here(functions=[waits]) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "body", "unknown", "meant"),
    [
        ("/invoke/waits", {"inputs": {}, "delivr": ["log:ops"]}, "delivr", "deliver"),
        ("/invoke/waits", {"inputs": {}, "secrets": {}}, "secrets", "_secrets"),
        ("/invoke/waits", {"inputs": {}, "_secret": {}}, "_secret", "_secrets"),
        ("/runs", {"name": "train", "lables": {}}, "lables", "labels"),
        ("/runs/r/deliveries", {"target": "log:ops", "show": "answer"}, "show", "shows"),
        ("/runs/r/links", {"expire_s": 60}, "expire_s", "expires_s"),
        ("/runs/r/messages", {"data": 1, "form": "ada"}, "form", "from"),
        ("/runs/r/interrupts/q", {"type": "accept", "arg": 1}, "arg", "args"),
        ("/runs/r/interrupts/q", {"approved": True, "contents": 1}, "contents", "content"),
        ("/runs/r/cancel", {"reasons": "late"}, "reasons", "reason"),
    ],
)
async def test_a_mistyped_field_is_refused_with_the_one_that_was_meant(
    server: Server, path: str, body: dict[str, Any], unknown: str, meant: str
) -> None:
    await server.post("/invoke/waits", b'{"run_id": "r"}', {"Prefer": "respond-async"})

    answer = await server.post(path, json.dumps(body).encode())

    assert answer.problem() == (400, "invalid_value")
    assert f"got {unknown!r}; is {meant!r} meant?" in answer.detail()
    runs = (await server.fetch("GET", "/runs")).json()["runs"]
    assert [(run["run_id"], run["status"]) for run in runs] == [("r", "running")]


async def test_a_field_that_resembles_none_is_refused_with_all_that_there_are(
    server: Server,
) -> None:
    answer = await server.post("/runs/r/links", b'{"colour": "red", "expires_s": 60}')

    assert answer.problem() == (400, "invalid_value")
    assert "expected no other fields than expires_s and files, got 'colour'" in answer.detail()


async def test_what_a_gateway_adds_is_ignored(server: Server) -> None:
    answer = await server.post(
        "/invoke/waits", b'{"inputs": {}, "_trace": "a1"}', {"Prefer": "respond-async"}
    )

    assert answer.status == 202


@pytest.mark.parametrize("body", [b'{"reason": "too late"}', b"", b"{}", b" "])
async def test_the_reason_to_cancel_may_be_in_the_body(server: Server, body: bytes) -> None:
    await server.post("/invoke/waits", b'{"run_id": "r"}', {"Prefer": "respond-async"})

    answer = await server.post("/runs/r/cancel?reason=asked", body)

    assert answer.status == 200
    log = (await server.fetch("GET", "/runs/r/events?live=false")).body
    assert json.loads(log.split(b"data: ")[-1])["data"] == {
        "reason": "too late" if b"late" in body else "asked"
    }


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"reason": 1}', {}),
        (b"[]", {}),
        (b'{"reason": "%b"}' % (b"x" * 501), {}),
        (b"reason=late", {"Content-Type": "application/x-www-form-urlencoded"}),
    ],
)
async def test_a_body_that_says_no_reason_cancels_nothing(
    server: Server, body: bytes, headers: dict[str, str]
) -> None:
    await server.post("/invoke/waits", b'{"run_id": "r"}', {"Prefer": "respond-async"})

    answer = await server.post("/runs/r/cancel", body, headers)

    assert answer.problem() == (400, "invalid_value")
    assert (await server.fetch("GET", "/runs/r")).json()["status"] == "running"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"on_disconnect": "stop"}', "it may be 'continue' or 'cancel'"),
        (b'{"inputs": "\xe9"}', "expected the body in UTF-8: "),
    ],
)
async def test_a_refusal_says_what_is_right(server: Server, body: bytes, said: str) -> None:
    answer = await server.post("/invoke/waits", body)

    assert answer.problem() == (400, "invalid_value")
    assert said in json.loads(answer.body)["detail"]


async def test_a_path_that_is_repeated_is_cut(server: Server) -> None:
    answer = await server.fetch("GET", "/" + "x" * 5000)

    assert answer.status == 404
    assert len(json.loads(answer.body)["detail"]) < 300


@pytest.mark.parametrize("prefix", ["", "_"])
async def test_a_body_full_of_unknown_fields_is_refused_after_few_comparisons(
    server: Server, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    compared: list[str] = []

    def compare(name: str, known: list[str]) -> str:
        compared.append(name)
        return ""

    monkeypatch.setattr(fields, "_meant", compare)
    body = {"name": "train", **{f"{prefix}x{number}": 0 for number in range(5000)}}
    answer = await server.post("/runs", json.dumps(body).encode())

    assert answer.problem() == (400, "invalid_value")
    assert f"got '{prefix}x0'" in answer.detail()
    assert len(compared) < 100
