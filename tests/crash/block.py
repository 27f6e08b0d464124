"""A script with a run around its code, to be watched, cancelled and killed: `block.py HOW`."""
# ruff: noqa: T201 - what it prints is what is tested

import asyncio
import signal
import sys
import threading

import runcast


def waits_in_a_thread() -> None:
    with runcast.run("import", run_id="r", labels={"user": "ada"}) as run:
        runcast.progress(3, 10)
        stop = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: stop.set())
        print("begun", flush=True)
        while not stop.wait(0.01):
            runcast.emit("tick")
        run.set_result("stopped")


def works_without_a_word() -> None:
    with runcast.run("import", run_id="r"):
        print("begun", flush=True)
        while True:  # no loop, no emit: the lease is renewed all the same
            sum(range(100_000))


def exits_after_an_interrupt() -> None:
    with runcast.run("import", run_id="r"):
        print("begun", flush=True)
        threading.Event().wait()


async def waits_on_a_loop() -> None:
    async with runcast.run("import", run_id="r"):
        runcast.progress(3, 10)
        print("begun", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    how = globals()[sys.argv[1]]
    if asyncio.iscoroutinefunction(how):
        asyncio.run(how())
    else:
        how()
