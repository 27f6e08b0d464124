"""The bridge from threads into a loop: Ctrl-C ends a call wherever it comes."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

import pytest

import runcast
from runcast._hub.bridge import Bridge
from tests.waiting import WAIT_S


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    bridge.open()
    yield bridge
    bridge.close()


def interrupt_next(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise `KeyboardInterrupt` in the next call, after the loop has begun its coroutine."""
    loop = bridge._loop
    assert loop is not None
    pass_on = loop.call_soon_threadsafe

    def interrupted(*call: object) -> NoReturn:
        monkeypatch.undo()
        pass_on(*call)  # type: ignore[arg-type]
        begun = threading.Event()
        pass_on(lambda: loop.call_soon(begun.set))
        assert begun.wait(WAIT_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "call_soon_threadsafe", interrupted)


def test_ctrl_c_while_a_call_begins_cancels_the_call(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    interrupt_next(bridge, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        bridge.call(work())

    assert cancelled.wait(WAIT_S)


def test_ctrl_c_ends_a_wait_although_another_thread_got_the_signal(bridge: Bridge) -> None:
    async def work() -> None:
        # The main thread waits for a lock, and the signal does not wake it.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        bridge.call(work())


def test_an_error_of_the_call_is_raised_even_if_it_says_that_time_is_over(bridge: Bridge) -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        bridge.call(work())


def test_ctrl_c_while_a_watch_goes_on_ends_the_watch_and_says_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    def watch_until_interrupted() -> None:
        for event in hub.watch("r"):
            if event.type == "started":
                interrupt_next(hub._bridge, monkeypatch)

    with runcast.open_hub() as hub:
        hub.start(waits, run_id="r")
        with pytest.raises(KeyboardInterrupt):
            watch_until_interrupted()
        hub.cancel("r")
