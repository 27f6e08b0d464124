"""Secrets come from where they are given, reach one call, and show nowhere."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runcast._app import open_hub
from runcast._functions.manifest import ManifestFunction, load_manifest
from runcast._functions.secrets import Redactor, Secret, find_secrets, texts_in
from runcast._settings import Settings
from runcast.errors import InvalidValue, MissingSecret
from tests.http.serving import serving_here
from tests.manifests.writing import declare, parameter, write_manifest

LONG_S = 20.0

VALUE = 's3cr3t-"quoted"-välue'

CODE = """
import os, sys

if os.environ.get("KEY"):
    print("imported with", os.environ["KEY"])

def show(how: str):
    key = os.environ.get("KEY", "none")
    yield {"type": "seen", "data": [len(key), os.environ.get("OTHER"), os.environ.get("PLAIN")]}
    if how == "emit":
        yield {"type": "step", "data": {"deep": [{"at": f"<{key}>"}], key: 1}}
        yield {"type": "error", "data": f"refused {key}"}
    elif how == "print":
        print("key", key)
        print("key", key, file=sys.stderr)
    elif how == "raise":
        raise ValueError(f"key {key}")
    elif how == "fail":
        import runcast
        raise runcast.RunFailed(f"key {key}")
    elif how == "ask":
        import runcast
        runcast.ask(f"use {key}?", args={"key": key})
    elif how == "place":
        import runcast
        runcast.emit("step", None, node=key, agent=f"<{key}>", path=["a", key])
    elif how == "number":
        import runcast
        runcast.emit(f"type{key}", {"n": int(key)})
        print("x" * 4090 + key)
    elif how == "return":
        return {"key": key}

def other():
    return {name: os.environ.get(name) for name in ("KEY", "OTHER", "PLAIN")}
"""


@pytest.fixture
def functions(tmp_path: Path) -> list[ManifestFunction]:
    secrets = [{"name": "KEY"}, {"name": "OTHER", "required": False}]
    show = declare("show", parameter("how", "string"), secrets=secrets)
    other = declare("other", streaming=False)
    return load_manifest(write_manifest(tmp_path / "prefab", CODE, show, other))


def settings(**more: Any) -> Settings:
    return Settings(warm_processes=0, shutdown_grace_s=0.0, **more)


@pytest.mark.parametrize("how", ["emit", "place", "print", "raise", "fail", "return", "ask"])
async def test_no_secret_is_shown(
    functions: list[ManifestFunction], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving_here(functions=functions, settings=settings()) as server:
            body = {"inputs": {"how": how}, "_secrets": {"KEY": VALUE}, "run_id": "run"}
            sent = json.dumps(body).encode()
            begun = await server.post("/invoke/show", sent, {"Prefer": "respond-async"})
            assert begun.status == 202
            shown = [begun.body]
            async with asyncio.timeout(LONG_S):
                async for event in server.hub.watch("run"):
                    if event.type == "interrupt_request":
                        await server.hub.cancel("run")
            paths = ("/runs/run", "/runs/run/events?live=false", "/runs", "/functions")
            shown += [(await server.fetch("GET", path)).body for path in paths]
    told = json.loads(b"[" + shown[1] + b"]")[0]
    assert told["status"] in ("done", "failed", "cancelled")
    everything = b"\n".join(shown).decode() + caplog.text
    for form in (VALUE, json.dumps(VALUE)[1:-1], json.dumps(VALUE, ensure_ascii=False)[1:-1]):
        assert form not in everything
    assert "***" in everything


async def test_no_secret_is_shown_as_a_number_or_by_its_first_half(
    functions: list[ManifestFunction],
) -> None:
    async with open_hub("memory://", functions=functions, settings=settings()) as hub:
        run = await hub.start("show", {"how": "number"}, secrets={"KEY": "735184926"})
        async with asyncio.timeout(LONG_S):
            told = [event async for event in hub.watch(run.run_id)]

    assert told[-1].type == "done"
    assert "735" not in "".join(str((event.type, event.data)) for event in told)
    assert [event.data for event in told if event.type == "hidden"] == [{"n": "***"}]


async def test_a_missing_secret_is_told_by_name(functions: list[ManifestFunction]) -> None:
    async with serving_here(functions=functions, settings=settings()) as server:
        for given in ({}, {"KEY": ""}, {"OTHER": "x"}):
            body = {"inputs": {"how": ""}, "_secrets": given, "run_id": "missing"}
            answer = await server.post("/invoke/show", json.dumps(body).encode())
            assert answer.status == 400
            problem = json.loads(answer.body)
            assert problem["code"] == "missing_secret"
            assert "the secret KEY" in problem["detail"]
        assert (await server.fetch("GET", "/runs/missing")).status == 404


@pytest.mark.parametrize("given", ['{"KEY": 5}', "[]", '"KEY"'])
async def test_secrets_that_are_none_are_refused(
    functions: list[ManifestFunction], given: str
) -> None:
    async with serving_here(functions=functions, settings=settings()) as server:
        body = f'{{"inputs": {{"how": ""}}, "_secrets": {given}}}'.encode()
        assert (await server.post("/invoke/show", body)).status == 400


async def seen(functions: list[ManifestFunction], given: Mapping[str, str], **more: Any) -> Any:
    """Return the length of the key that a call sees, and the other secret."""
    async with open_hub("memory://", functions=functions, settings=settings(**more)) as hub:
        run = await hub.start("show", {"how": ""}, secrets=given)
        async with asyncio.timeout(LONG_S):
            (found,) = [e.data async for e in hub.watch(run.run_id) if e.type == "seen"]
    return found


async def test_secrets_come_from_the_invocation_the_environment_or_a_file(
    functions: list[ManifestFunction], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets.toml"
    file.write_text('KEY = "of-file"\nOTHER = "other-of-file"\n')
    assert await seen(functions, {"KEY": "1"}) == [1, None, None]
    assert await seen(functions, {}, secrets_file=str(file)) == [7, "***", None]
    monkeypatch.setenv("KEY", "of-the-environment")
    monkeypatch.setenv("PLAIN", "plain")
    assert await seen(functions, {}, secrets_file=str(file)) == [18, "***", "plain"]
    assert await seen(functions, {"KEY": "12", "NOT_DECLARED": "x"}) == [2, None, "plain"]


async def test_other_functions_do_not_see_secrets(
    functions: list[ManifestFunction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "of-the-environment")
    monkeypatch.setenv("PLAIN", "plain")
    async with open_hub("memory://", functions=functions, settings=settings()) as hub:
        first = await hub.start("show", {"how": "emit"}, secrets={"KEY": VALUE})
        await asyncio.wait_for(first.wait(), LONG_S)
        run = await hub.start("other")
        found = await asyncio.wait_for(run.result(), LONG_S)
    assert found == {"KEY": None, "OTHER": None, "PLAIN": "plain"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("KEY = s3cr3t", "expected the secrets file to be TOML"),
        ("KEY = " + "[" * 5000, "expected the secrets file to be TOML"),
        ("KEY = 5", "expected the secrets file to consist of lines"),
        (None, "the secrets file cannot be read: No such file"),
    ],
)
async def test_a_bad_file_is_told_without_what_is_in_it(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "secrets.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidValue, match=message) as raised:
        await find_secrets([Secret("KEY")], {}, str(file))
    assert "s3cr3t" not in str(raised.value)


async def test_all_missing_secrets_are_named() -> None:
    declared = [Secret("A_KEY"), Secret("B_KEY"), Secret("C_KEY", required=False)]
    with pytest.raises(MissingSecret, match="A_KEY and the secret B_KEY"):
        await find_secrets(declared, {}, "")


async def test_a_secret_that_no_environment_can_hold_is_refused() -> None:
    for value in ("a\0b", "\udcff"):
        with pytest.raises(InvalidValue, match="the secret KEY to be UTF-8 without NUL"):
            await find_secrets([Secret("KEY")], {"KEY": value}, "")


def test_what_is_hidden() -> None:
    redactor = Redactor(["secret-one", "secret-one-and-more", "short", "line one\nline two"])
    assert redactor.hide("a secret-one-and-more b secret-one short") == "a *** b *** short"
    assert redactor.hide(["line two", {"secret-one": None}, 5]) == ["***", {"***": None}, 5]
    assert redactor.is_in(b'{"a":"line one\\nline two"}')
    assert not redactor.is_in(b'{"a":"short"}')
    assert Redactor().hide("anything") == "anything"
    assert Redactor(["123456"]).hide([1234567, 0.123456, 12345, True]) == [
        "***",
        "***",
        12345,
        True,
    ]


def test_what_is_cut_leaves_no_part_of_a_secret() -> None:
    redactor = Redactor(["secret", "et-another"])
    assert [redactor.cut(b"12secret90", most) for most in range(1, 11)] == [
        *(1, 2, 2, 2, 2, 2, 2),
        *(8, 9, 10),
    ]
    assert redactor.cut(b"12secret-another", 9) == 2
    assert Redactor().cut(b"12secret", 4) == 4


def test_texts_of_inputs_are_found() -> None:
    assert list(texts_in({"a": ["b", {"c": "d"}], "e": 5})) == ["b", "d"]
    assert len(list(texts_in(["x"] * 5000))) == 1000
