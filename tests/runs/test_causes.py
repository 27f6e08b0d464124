"""What a developer sees of a failure in a script: the function's own exception, where it was
raised."""

import asyncio
import linecache
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import runcast
from runcast._functions.function import Function
from runcast._settings import Settings
from runcast.errors import ProcessTraceback, RunFailed
from tests.opening import soon, take
from tests.runs import process_functions

SETTINGS = Settings(warm_processes=0, shutdown_grace_s=0.0)


def _look_up() -> None:
    raise KeyError("the key")


def in_a_thread() -> None:
    _look_up()


async def on_the_loop() -> None:
    _look_up()


def of_a_generator() -> Iterator[str]:
    yield "content"
    _look_up()


async def of_an_async_generator() -> AsyncIterator[str]:
    yield "content"
    _look_up()


def frames_of(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize(
    "function", [in_a_thread, on_the_loop, of_a_generator, of_an_async_generator]
)
async def test_a_result_raises_with_the_functions_own_exception(function: Any) -> None:
    async with runcast.open_hub() as hub:
        run = await hub.start(function)
        with pytest.raises(RunFailed, match="the function raised KeyError") as caught:
            await soon(run.result())

    cause = caught.value.__cause__
    assert type(cause) is KeyError
    assert cause.args == ("the key",)
    assert frames_of(cause) == [function.__name__, "_look_up"]  # and none of ours
    assert run.raised is cause


def test_a_script_without_a_loop_gets_it_too() -> None:
    with runcast.open_hub() as hub:
        run = hub.start(on_the_loop)
        with pytest.raises(RunFailed) as caught:
            run.result()

    shown = "".join(traceback.format_exception(caught.value))
    linecache.checkcache()
    assert "KeyError: 'the key'" in shown
    assert 'raise KeyError("the key")' in shown
    assert "was the direct cause" in shown


def test_a_failure_that_the_function_says_itself_has_its_traceback() -> None:
    def says() -> None:
        raise RunFailed("no rows", "empty")

    with runcast.open_hub() as hub, pytest.raises(RunFailed) as caught:
        hub.start(says).result()

    assert (caught.value.message, caught.value.code) == ("no rows", "empty")
    assert caught.value.__cause__ is not None
    assert frames_of(caught.value.__cause__) == ["says"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_would_end_the_loop_is_the_cause_too(error: BaseException) -> None:
    async def leaves() -> None:
        raise error

    with runcast.open_hub() as hub, pytest.raises(RunFailed) as caught:
        hub.start(leaves).result()

    assert caught.value.__cause__ is error


async def test_a_process_gives_its_traceback_as_text() -> None:
    async with runcast.open_hub(settings=SETTINGS) as hub:
        run = await hub.start(Function(process_functions.raising, isolation="process"), {"n": 3})
        with pytest.raises(RunFailed, match="the function raised ValueError") as caught:
            await asyncio.wait_for(run.result(), 20)

    cause = caught.value.__cause__
    assert isinstance(cause, ProcessTraceback)
    assert "ValueError: 3" in cause.trace
    assert "process_functions.py" in cause.trace
    assert "_workers" not in cause.trace
    assert cause.trace in "".join(traceback.format_exception(caught.value))


async def test_a_run_that_was_cancelled_has_no_cause_unless_its_clean_up_raised() -> None:
    async def waits() -> None:
        runcast.emit("begun")
        await asyncio.Event().wait()

    async def fails_to_clean_up() -> None:
        try:
            runcast.emit("begun")
            await asyncio.Event().wait()
        finally:
            _look_up()

    async with runcast.open_hub() as hub:
        causes = []
        for function in (waits, fails_to_clean_up):
            run = await hub.start(function)
            await take(hub.watch(run.run_id), 2)
            await soon(hub.cancel(run.run_id, "enough"))
            with pytest.raises(RunFailed, match="cancelled: enough") as caught:
                await soon(run.result())
            causes.append(type(caught.value.__cause__))

    assert causes == [type(None), KeyError]
