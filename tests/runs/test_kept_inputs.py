"""What a run keeps of its inputs: beside its log, without secrets, bounded, as long as the run."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

import runcast
from runcast._app import open_hub
from runcast._functions.function import Function
from runcast._functions.kept_inputs import MAX_INPUTS_BYTES
from runcast._functions.secrets import Secret
from runcast._settings import Settings
from runcast.errors import InvalidValue, NotFound
from runcast.stores.base import Store
from tests.opening import soon
from tests.runs import process_functions
from tests.stores.spy import Spy
from tests.waiting import START_S

SETTINGS = Settings(shutdown_grace_s=0.0, warm_processes=0)


class Place(msgspec.Struct):
    x: int
    y: int = 0


@runcast.function
def go(to: str = "", at: Place | None = None, more: Any = None, key: bytes = b"") -> str:
    return to


@runcast.function(store_inputs=False)
def discreet(to: str) -> str:
    return to


async def test_a_run_keeps_its_inputs_and_they_go_with_it(store: Store) -> None:
    async with open_hub(store, settings=SETTINGS) as hub:
        given = {"to": "Rome", "at": Place(1, 2), "more": {"n": [1, 2**60]}}
        run = await hub.start(go, given, run_id="r")
        await soon(run.wait())
        kept = await hub.inputs("r")
        assert kept is not None
        assert kept.values == {"to": "Rome", "at": {"x": 1, "y": 2}, "more": {"n": [1, 2**60]}}
        assert (kept.left_out, kept.files, kept.dropped) == ({}, {}, 0)

        again = await hub.start(go, {"to": "Paris"}, run_id="r", replace=True)
        await soon(again.wait())
        assert msgspec.to_builtins(await hub.inputs("r")) == {"values": {"to": "Paris"}}

        await hub.hub.delete("r", again.epoch)
        with pytest.raises(NotFound):
            await hub.inputs("r")


def test_inputs_are_there_after_a_restart_and_in_no_event(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    with open_hub(store, settings=SETTINGS) as hub:
        hub.start(go, {"to": "a place nobody else names"}, run_id="r").wait()
    with open_hub(store, settings=SETTINGS) as hub:
        assert msgspec.to_builtins(hub.inputs("r")) == {
            "values": {"to": "a place nobody else names"}
        }
        events = [event.data for event in hub.watch("r")]
    assert "nobody" in json.dumps(events[-1])  # the function returns it
    assert "nobody" not in json.dumps(events[:-1])


async def test_a_function_may_keep_nothing(store: Store) -> None:
    async with open_hub(store, settings=SETTINGS) as hub:
        run = await hub.start(discreet, {"to": "Rome"}, run_id="r")
        await soon(run.wait())
        assert await hub.inputs("r") is None


async def test_inputs_of_a_function_in_a_process_are_kept_as_they_were_given() -> None:
    async with open_hub(settings=SETTINGS) as hub:
        run = await hub.start(process_functions.talking, {"n": 2}, run_id="r")
        await asyncio.wait_for(run.wait(), START_S)
        assert msgspec.to_builtins(await hub.inputs("r")) == {"values": {"n": 2}}


async def test_keeping_inputs_takes_no_further_operation_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    counted = []
    async with open_hub(f"sqlite:///{tmp_path}/runs.db", settings=SETTINGS) as hub:
        for function in (discreet, go, discreet, go):
            before = len(spy.statements)
            await soon((await hub.start(function, {"to": "Rome"})).wait())
            written = [text.split()[0] for text in spy.statements[before:]]
            counted.append((written.count("COMMIT"), written.count("INSERT")))

    assert counted[2] == counted[3], counted
    assert counted[2][1] > 0


async def test_secrets_and_bytes_are_left_out() -> None:
    function = Function(go.call, name="go")
    function.secrets = (Secret("API_KEY"),)
    given = {"to": "Rome", "more": ["sk-hunter2-hunter2"], "key": b"abc"}
    async with open_hub(settings=SETTINGS) as hub:
        secrets = {"API_KEY": "sk-hunter2-hunter2"}
        run = await hub.start(function, given, run_id="r", secrets=secrets)
        await soon(run.wait())
        kept = msgspec.to_builtins(await hub.inputs("r"))

    assert kept == {
        "values": {"to": "Rome"},
        "left_out": {"more": "secret", "key": "bytes"},
    }


async def test_what_is_declared_as_a_password_is_left_out() -> None:
    def sign_in(
        user: str, word: Annotated[str, msgspec.Meta(extra_json_schema={"format": "password"})]
    ) -> None: ...

    async with open_hub(settings=SETTINGS) as hub:
        run = await hub.start(sign_in, {"user": "ada", "word": "hunter2"}, run_id="r")
        await soon(run.wait())
        kept = msgspec.to_builtins(await hub.inputs("r"))

    assert kept == {"values": {"user": "ada"}, "left_out": {"word": "secret"}}


async def test_what_is_kept_is_bounded_and_says_what_is_not() -> None:
    def anything(**inputs: Any) -> None: ...

    long = "x" * (MAX_INPUTS_BYTES // 2)
    deep: Any = 0
    for _ in range(200):
        deep = [deep]
    inputs = {"a": long, "b": long, "c": 1, "deep": deep, "object": object()}
    inputs |= {f"more {number}": long for number in range(40)}
    async with open_hub(settings=SETTINGS) as hub:
        run = await hub.start(anything, inputs, run_id="r")
        await soon(run.wait())
        kept = await hub.inputs("r")

    assert kept is not None
    assert kept.values.keys() == {"a", "c"}
    assert kept.left_out["b"] == f"too long: {len(long) + 2} bytes"
    assert kept.left_out["deep"] == "nested more than 100 deep"
    assert kept.left_out["object"] == "not JSON"
    assert (len(kept.left_out), kept.dropped) == (32, 11)


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(InvalidValue, match="expected store_inputs to be a bool"):
        runcast.function(store_inputs="no")(go.call)  # type: ignore[call-overload]
