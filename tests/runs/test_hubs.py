"""Hubs that fail to open or to close leave nothing behind; what is added later is known as well."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.errors import RunClosed, StoreUnavailable
from runcast.events.model import encode_record
from tests.opening import soon
from tests.waiting import until


def tasks_of_ours() -> list[str]:
    return sorted(
        task.get_name()
        for task in asyncio.all_tasks()
        if task.get_name().startswith("runcast") and not task.done()
    )


def is_there(folder: str) -> bool:
    return Path(folder).is_dir()


def where() -> str:
    return str(runcast.workspace())


async def test_no_files_stay_of_a_hub_whose_runs_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = OpenHub()
    close = hub.runner.close

    async def close_and_fail() -> None:
        await close()
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(hub.runner, "close", close_and_fail)
    await hub.open()
    folder = str(Path(await soon((await hub.start(where)).result())).parents[2])
    assert is_there(folder)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await hub.close()

    assert not is_there(folder)
    assert not hub.hub.is_open
    assert tasks_of_ours() == []


@pytest.mark.parametrize("part", ["runner", "files"])
async def test_nothing_goes_on_in_a_hub_that_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    hub = OpenHub()
    open_it = getattr(hub, part).open

    async def open_and_fail() -> None:
        await open_it()
        raise StoreUnavailable("not today")

    monkeypatch.setattr(getattr(hub, part), "open", open_and_fail)
    with pytest.raises(StoreUnavailable, match="not today"):
        await hub.open()

    assert not hub.hub.is_open
    assert tasks_of_ours() == []


@pytest.mark.parametrize("when", ["before", "after", "at its start"])
async def test_no_child_process_has_the_secrets_of_a_function_that_is_known(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("SEVENTH_TOKEN", "a secret")
    curious, secretive = (
        Function(curious_function, name=name, isolation="process") for name in ("curious", "other")
    )
    secretive.secrets = (SimpleNamespace(name="SEVENTH_TOKEN", required=False),)  # type: ignore[assignment]
    known = [secretive, curious] if when == "before" else [curious]
    async with open_hub(functions=known, settings=Settings(warm_processes=1)) as hub:
        async with asyncio.timeout(20):
            await until(lambda: bool(hub.runner.processes.ready))
            if when == "after":
                hub.add(secretive)
            elif when == "at its start":
                await (await hub.start(secretive)).wait()
            assert await (await hub.start("curious")).result() is False


def curious_function() -> bool:
    return "SEVENTH_TOKEN" in os.environ


async def test_a_flush_reports_events_that_were_refused_because_the_run_had_ended() -> None:
    async with open_hub() as hub:
        async with hub.run("import") as run:
            late = hub.hub.inlet(run.run_id, run.epoch)
            assert (await hub.flush(run.run_id)).seq == 1
        assert (await hub.flush(run.run_id)).seq == 2
        late.put(encode_record("log", {"message": "too late"}, 0.0))

        for _ in range(2):
            with pytest.raises(RunClosed, match="has ended"):
                await hub.flush(run.run_id)
        async with hub.run("import", run_id=run.run_id, replace=True):
            assert (await hub.flush(run.run_id)).seq == 1
