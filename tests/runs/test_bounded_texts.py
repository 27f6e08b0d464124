"""What others write reaches logs, events and errors cut: a text of theirs may be of any length."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import runcast
from runcast import _logs
from runcast._app import open_hub
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.errors import InvalidInputs, InvalidValue, RuncastError
from tests.opening import events_of, soon
from tests.runs import process_functions

HUGE: Final = "x" * 2_000_000

MOST_CHARS: Final = 100_000
"""More than a run writes into the server's log."""

SETTINGS: Final = Settings(warm_processes=0, shutdown_grace_s=0.0)


class Huge(Exception):
    def __str__(self) -> str:
        return HUGE


def raise_value() -> None:
    raise ValueError(HUGE)


def raise_own() -> None:
    raise Huge


def raise_chain() -> None:
    try:
        raise ValueError(HUGE)
    except ValueError as error:
        raise TypeError(HUGE) from error


def raise_group() -> None:
    raise ExceptionGroup(HUGE, [ValueError(HUGE), Huge()])


def raise_with_notes() -> None:
    error = ValueError("short")
    error.add_note(HUGE)
    raise error


def raise_long_name() -> None:
    raise type(HUGE, (Exception,), {})


def raise_syntax() -> None:
    compile(HUGE + " " + HUGE, "file", "exec")


def exit_with_text() -> None:
    raise SystemExit(HUGE)


def stop() -> None:
    raise StopIteration(HUGE)


def fail_with_code() -> None:
    raise runcast.RunFailed(HUGE, HUGE)


def fail_in_hook() -> None:
    def hook(ending: Any) -> Any:
        raise ValueError(HUGE)

    writer = runcast.current_writer()
    assert writer is not None
    writer.before_end(hook)


RAISING: Final = (
    *(raise_value, raise_own, raise_chain, raise_group, raise_with_notes, raise_long_name),
    *(raise_syntax, exit_with_text, stop, fail_with_code, fail_in_hook),
)


@pytest.mark.parametrize("isolation", ["thread", "loop", "process"])
@pytest.mark.parametrize("call", RAISING, ids=lambda call: str(call.__name__))
async def test_a_text_of_a_function_is_cut_in_the_log_and_in_its_ending(
    call: Callable[[], None], isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_the_loop() -> None:
        call()

    function: Any = on_the_loop if isolation == "loop" else call
    if isolation == "process":
        function = Function(call, isolation="process")
    async with open_hub(settings=SETTINGS) as hub:
        run = await hub.start(function)
        events = await events_of(hub, run.run_id, wait_s=30.0)
    assert len(caplog.text) < MOST_CHARS
    assert len(str(events[-1].data)) < 5_000


async def test_a_traceback_that_is_cut_still_says_where_it_came_from(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_hub(settings=SETTINGS) as hub:
        for function in (raise_value, Function(raise_value, isolation="process", name="again")):
            caplog.clear()
            await events_of(hub, (await hub.start(function)).run_id, wait_s=30.0)
            assert "in raise_value" in caplog.text
            assert "ValueError: xxx" in caplog.text
            assert "more characters" in caplog.text


async def test_whoever_handles_the_log_gets_the_exception_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_hub(settings=SETTINGS) as hub:
        await events_of(hub, (await hub.start(raise_value)).run_id)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


def test_a_message_is_cut_and_one_that_cannot_be_made_is_left_to_the_handler(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _logs.get_logger("runcast.tests")
    log.error("told %s", HUGE)
    assert len(caplog.records[-1].getMessage()) < _logs.MAX_MESSAGE_CHARS + 50
    log.error("%s", "short")
    assert caplog.records[-1].args == ("short",)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("two %s %s", "one")
    assert len(caplog.records) == 3


def takes(first: int, second: list[int] | None = None) -> None: ...


@pytest.mark.parametrize(
    "inputs",
    [
        {"first": 1, HUGE: 1},
        {"first": 1, **{f"unknown-{number}": 1 for number in range(100_000)}},
        {"first": 1, "second": [1] * 1000 + [HUGE]},
        {"first": HUGE},
    ],
    ids=["long name", "many names", "deep", "value"],
)
async def test_what_is_wrong_with_inputs_is_said_in_few_words(inputs: dict[str, Any]) -> None:
    async with open_hub(settings=SETTINGS) as hub:
        with pytest.raises(InvalidInputs) as caught:
            await hub.start(takes, inputs)
    assert len(caught.value.message) < 10_000
    assert len(str(caught.value.problems)) < 50_000


async def test_what_is_refused_is_repeated_in_few_words() -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda hub: hub.start(HUGE),
        lambda hub: hub.start(takes, {"first": 1}, run_id=HUGE),
        lambda hub: hub.start(takes, {"first": 1}, labels={HUGE: "a"}),
        lambda hub: hub.start(takes, {"first": 1}, labels={f"runcast.{HUGE}": "a"}),
        lambda hub: hub.start(takes, {"first": 1}, labels={"name": HUGE}),
        lambda hub: hub.start(takes, {"first": 1}, labels={"name": HUGE.encode()}),
        lambda hub: hub.cancel(HUGE),
        lambda hub: hub.answer(HUGE, HUGE, {"type": HUGE}),
        lambda hub: hub.answer("run-1", HUGE, {"type": "accept"}),
        lambda hub: hub.present(HUGE),
    ]
    async with open_hub(settings=SETTINGS) as hub:
        await (await hub.start(process_functions.plain, {"n": 1}, run_id="run-1")).wait()
        for call in calls:
            with pytest.raises(RuncastError) as caught:
                await soon(call(hub))
            assert len(str(caught.value)) < 2_000


def test_what_is_malformed_is_repeated_in_few_words() -> None:
    for make in (
        lambda: Function(takes, name=HUGE),
        lambda: Function(takes, isolation=HUGE),  # type: ignore[arg-type]
        lambda: Function(takes, max_runs=HUGE),  # type: ignore[arg-type]
        lambda: Function(takes, events={HUGE: int}),
        lambda: open_hub(HUGE).__enter__(),
    ):
        with pytest.raises(InvalidValue) as caught:
            make()
        assert len(str(caught.value)) < 2_000


async def test_the_reason_of_a_cancellation_is_cut_before_anybody_gets_it() -> None:
    heard: list[int] = []

    def works() -> None:
        while True:
            try:
                runcast.emit("step")
            except runcast.Cancelled as error:
                heard.append(len(str(error)))
                raise

    async with open_hub(settings=SETTINGS) as hub:
        run = await hub.start(works)
        await asyncio.sleep(0)
        await soon(hub.cancel(run.run_id, HUGE))
        events = await events_of(hub, run.run_id)
    assert len(events[-1].data["reason"]) == 2_000
    assert heard in ([], [2_000])


def test_loggers_have_names_that_configurations_may_rely_on() -> None:
    """They name what users know, not the folders that the code lies in."""
    source = Path(str(runcast.__file__)).parent
    found = {
        name
        for file in source.rglob("*.py")
        for name in re.findall(r'get_?[lL]ogger\(\s*"(runcast[^"]*)"', file.read_text("utf-8"))
    }
    assert found >= {"runcast.http", "runcast.hub", "runcast.runs", "runcast.stores.sqlite"}
    assert not [name for name in found if "._" in name]
