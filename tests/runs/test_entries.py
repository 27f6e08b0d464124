"""What a hub's methods are given: what cannot be meant is told at the call, by an error of ours."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast.errors import InvalidInputs, InvalidValue, NotFound, RuncastError, StoreUnavailable
from runcast.stores.base import Store
from tests.opening import events_of, soon


async def ok(number: int = 1) -> int:
    return number


async def sleeps() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"inputs": [1]}, InvalidInputs),
        ({"inputs": "number"}, InvalidInputs),
        ({"inputs": 7}, InvalidInputs),
        ({"inputs": {1: 2}}, InvalidInputs),
        ({"run_id": 7}, InvalidValue),
        ({"run_id": b"r"}, InvalidValue),
        ({"labels": {7: "a"}}, InvalidValue),
        ({"labels": {"a": 7}}, InvalidValue),
        ({"labels": ["a"]}, InvalidValue),
        ({"labels": "a"}, InvalidValue),
    ],
)
async def test_a_run_cannot_be_started_with_it(
    store: Store, given: dict[str, Any], error: type[RuncastError]
) -> None:
    async with runcast.open_hub(store) as hub:
        with pytest.raises(error):
            await hub.start(ok, **given)

        assert hub.runner.statistics()[:2] == (0, 0), "it took a place"
        assert await (await hub.start(ok)).result() == 1


@pytest.mark.parametrize("function", [None, 7, b"ok", object(), []])
async def test_what_cannot_be_called_is_no_function(store: Store, function: Any) -> None:
    async with runcast.open_hub(store) as hub:
        with pytest.raises(InvalidValue, match="a function"):
            await hub.start(function)
    with pytest.raises(InvalidValue, match="a function"):
        OpenHub(functions=[function])


@pytest.mark.parametrize("run_id", [None, 7, b"r", "", "a b", "\ud800"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda hub, run_id: hub.cancel(run_id),
        lambda hub, run_id: hub.present(run_id),
        lambda hub, run_id: hub.flush(run_id),
        lambda hub, run_id: hub.answer(run_id, "q", {"type": "accept"}),
        lambda hub, run_id: anext(hub.watch(run_id)),
    ],
)
async def test_what_is_no_id_is_the_id_of_no_run(
    store: Store, run_id: Any, ask: Callable[[OpenHub, Any], Any]
) -> None:
    async with runcast.open_hub(store) as hub:
        with pytest.raises(NotFound):
            await soon(ask(hub, run_id))


@pytest.mark.parametrize("after", [7, b"x", "", "x", ("0123456789",), 1.5])
async def test_what_is_no_position_is_refused(store: Store, after: Any) -> None:
    async with runcast.open_hub(store) as hub:
        run = await hub.start(ok)

        with pytest.raises(InvalidValue, match="position"):
            await soon(anext(hub.watch(run.run_id, after)))


@pytest.mark.parametrize("reason", [None, 7, b"x"])
async def test_what_is_no_reason_cancels_nothing(store: Store, reason: Any) -> None:
    async with runcast.open_hub(store, settings=Settings(shutdown_grace_s=0.0)) as hub:
        run = await hub.start(sleeps)

        with pytest.raises(InvalidValue, match="reason"):
            await soon(hub.cancel(run.run_id, reason))
        with pytest.raises(InvalidValue, match="reason"):
            run.cancel(reason)
        assert not run.cancel_asked.is_set()


@pytest.mark.parametrize("text", [None, 7, b"x"])
async def test_what_is_no_text_is_no_content(store: Store, text: Any) -> None:
    async def writes() -> None:
        with pytest.raises(InvalidValue, match="a text"):
            runcast.content(text)
        for name in ("node", "agent", "message_id"):
            with pytest.raises(InvalidValue, match="a text"):
                runcast.content("fine", **{name: [text]})  # type: ignore[arg-type]
        runcast.content("fine")

    async with runcast.open_hub(store) as hub:
        run = await hub.start(writes)
        events = await events_of(hub, run.run_id)

    assert [event.data for event in events[1:]] == [{"text": "fine", "index": 0}, {}]


# --- opening and closing --------------------------------------------------------------------------


async def test_a_hub_that_is_not_open_says_so(store: Store) -> None:
    hub = OpenHub(store)

    with pytest.raises(StoreUnavailable, match="not open"):
        await soon(hub.start(ok))
    with pytest.raises(StoreUnavailable, match="not open"):
        await soon(hub.flush("r"))
    with pytest.raises(StoreUnavailable, match="not open"):
        await soon(anext(hub.watch("r")))
    await soon(hub.close())


async def test_a_hub_that_was_closed_can_be_opened_again(store: Store) -> None:
    hub = OpenHub(store)
    for turn in range(2):
        async with hub:
            run = await soon(hub.start(ok, run_id=f"r{turn}"))
            await soon(run.wait())
            assert len(await hub.runs()) == turn + 1
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("runcast")]


async def test_a_hub_that_could_not_be_opened_can_be_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = OpenHub(store)
    with monkeypatch.context() as patched:

        async def fails() -> None:
            raise StoreUnavailable("not yet")

        patched.setattr(hub.files, "open", fails)
        with pytest.raises(StoreUnavailable, match="not yet"):
            await soon(hub.open())
    async with hub:
        run = await hub.start(ok)
        assert await soon(run.result()) == 1


async def test_what_opens_a_hub_opens_one(store: Store) -> None:
    opener = runcast.open_hub(store)
    async with opener as hub:
        with pytest.raises(InvalidValue, match="once"):
            async with opener:
                pass
        assert await (await hub.start(ok)).result() == 1

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("runcast")]


def test_what_opens_a_hub_in_a_thread_opens_one() -> None:
    opener = runcast.open_hub()
    with opener as hub:
        with pytest.raises(InvalidValue, match="once"), opener:
            pass
        assert hub.start(ok).result() == 1
