"""Scripts with a hub or a run of their own, to be interrupted: `interrupted.py HOW STORE`.

Each says that it has begun inside its `try`, because Ctrl-C may come at once.
"""
# ruff: noqa: T201 - what it prints is what is tested

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

import runcast
from runcast import AnyFunction


def say(word: str) -> None:
    print(word, flush=True)


async def waits_on_the_loop() -> None:
    try:
        say("begun")
        await asyncio.Event().wait()
    finally:
        runcast.log("cleaned up")
        say("cleaned up")


def waits_in_a_thread() -> None:
    try:
        say("begun")
        while True:
            runcast.emit("tick")
            threading.Event().wait(0.01)
    finally:
        runcast.log("cleaned up")
        say("cleaned up")


@runcast.function(isolation="process")
def waits_in_a_process() -> None:
    try:
        runcast.emit("begun")
        while True:
            runcast.emit("tick")
            threading.Event().wait(0.01)
    finally:
        runcast.log("cleaned up")


@runcast.function(isolation="process")
def never_emits_in_a_process() -> None:
    try:
        runcast.emit("begun")
        threading.Event().wait()
    except KeyboardInterrupt:
        threading.Event().wait(0.2)
        runcast.log("caught")
        raise
    finally:
        runcast.log("cleaned up")


@runcast.function(isolation="process")
def misses_its_signal_in_a_process() -> None:
    # Another thread gets the first signal, which does not wake the main thread.
    os.killpg = lambda _, number: signal.pthread_kill(threading.get_ident(), number)
    try:
        runcast.emit("begun")
        threading.Event().wait()
    finally:
        runcast.log("cleaned up")


@runcast.function(isolation="process")
def cleans_up_for_a_while_in_a_process() -> None:
    try:
        runcast.emit("begun")
        while True:
            runcast.emit("tick")
    finally:
        threading.Event().wait(0.2)
        runcast.log("cleaned up")


@runcast.function(isolation="process")
async def waits_on_a_loop_in_a_process() -> None:
    try:
        runcast.emit("begun")
        await asyncio.Event().wait()
    finally:
        await asyncio.to_thread(threading.Event().wait, 0.2)
        runcast.log("cleaned up")


def cleans_up_for_a_while_in_a_thread() -> None:
    try:
        say("begun")
        while True:
            runcast.emit("tick")
            threading.Event().wait(0.01)
    finally:
        threading.Event().wait(1.5)  # longer than it may take to notice
        runcast.log("cleaned up")


def never_emits_in_a_thread() -> None:
    say("begun")
    threading.Event().wait()


async def a_coroutine(store: str) -> None:
    async with runcast.open_hub(store) as hub:
        await (await hub.start(waits_on_the_loop, run_id="r")).result()


async def a_coroutine_with_a_thread(store: str) -> None:
    async with runcast.open_hub(store) as hub:
        await (await hub.start(waits_in_a_thread, run_id="r")).result()


async def a_coroutine_that_is_leaving(store: str) -> None:
    async with runcast.open_hub(store) as hub:
        await hub.start(waits_on_the_loop, run_id="r")
        await asyncio.sleep(0)


async def a_task_that_is_cancelled(store: str) -> None:
    async def work() -> None:
        async with runcast.open_hub(store) as hub:
            await hub.start(waits_on_the_loop, run_id="r")
            async for _ in hub.watch("r"):
                begun.set()

    begun = asyncio.Event()
    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


def a_thread(store: str) -> None:
    with runcast.open_hub(store) as hub:
        hub.start(waits_in_a_thread, run_id="r").result()


def a_thread_with_a_coroutine(store: str) -> None:
    with runcast.open_hub(store) as hub:
        hub.start(waits_on_the_loop, run_id="r").result()


def a_thread_that_is_leaving(store: str) -> None:
    with runcast.open_hub(store) as hub:
        hub.start(waits_in_a_thread, run_id="r")


def a_thread_that_cleans_up_for_a_while(store: str) -> None:
    with runcast.open_hub(store) as hub:
        hub.start(cleans_up_for_a_while_in_a_thread, run_id="r").result()


def a_thread_that_never_emits(store: str) -> None:
    with runcast.open_hub(store) as hub:
        hub.start(never_emits_in_a_thread, run_id="r").result()


def a_process_that_never_emits(store: str) -> None:
    a_thread_with_a_process(store, never_emits_in_a_process)


def a_process_that_misses_its_signal(store: str) -> None:
    a_thread_with_a_process(store, misses_its_signal_in_a_process)


def a_process_that_cleans_up_for_a_while(store: str) -> None:
    a_thread_with_a_process(store, cleans_up_for_a_while_in_a_process)


def a_process_with_a_coroutine(store: str) -> None:
    a_thread_with_a_process(store, waits_on_a_loop_in_a_process)


def a_thread_with_a_process(store: str, function: AnyFunction = waits_in_a_process) -> None:
    with runcast.open_hub(store) as hub:
        run = hub.start(function, run_id="r")
        for event in hub.watch("r"):
            if event.type == "begun":
                say("begun")
        run.result()


def a_block(store: str) -> None:
    with runcast.run("import", run_id="r", store=store):
        try:
            say("begun")
            threading.Event().wait()
        finally:
            runcast.log("cleaned up")
            say("cleaned up")


async def an_async_block(store: str) -> None:
    async with runcast.run("import", run_id="r", store=store):
        await waits_on_the_loop()


async def an_async_block_in_a_hub(store: str) -> None:
    async with runcast.open_hub(store) as hub, hub.run("import", run_id="r"):
        await waits_on_the_loop()


if __name__ == "__main__":
    how: Callable[[str], object] = globals()[sys.argv[1]]
    if asyncio.iscoroutinefunction(how):
        asyncio.run(how(sys.argv[2]))
    else:
        how(sys.argv[2])
