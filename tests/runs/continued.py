"""Functions that are continued, in this process and in others; and a process that runs one.

    python -m tests.runs.continued sqlite:///runs.db FUNCTION [INPUTS]

With inputs it starts the function as the run "r". It prints the type of each event of that run, and
ends with the run, or when its standard input does.
"""
# ruff: noqa: T201 - what it prints is what the test waits for

import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import runcast


def told(**known: Any) -> dict[str, Any]:
    """Return what a handler was given, as a result of its run."""
    if (inputs := known.get("inputs")) is not None:
        known["inputs"], known["left_out"] = dict(inputs), inputs.left_out
    if (state := known.pop("state", None)) is not None:
        known["status"], known["texts"] = state.status, [text.text for text in state.texts]
    if (answer := known.pop("answer", None)) is not None:
        known["answer"] = [type(answer).__name__, answer.type, answer.args]
    return known


def go_on(
    interrupt_id: str,
    answer: runcast.Answer,
    kept: Any,
    inputs: dict[str, Any],
    attempt: int,
    state: runcast.Snapshot,
) -> dict[str, Any]:
    told_ = told(
        interrupt_id=interrupt_id,
        answer=answer,
        kept=kept,
        inputs=inputs,
        attempt=attempt,
        state=state,
    )
    return {**told_, "process": os.getpid()}


@runcast.function(isolation="process", resume=go_on)
def asks_apart(to: str, key: bytes = b"") -> None:
    runcast.emit("pid", os.getpid())
    runcast.content("before")
    runcast.ask("go on?", interrupt_id="q", keep={"step": 1, "to": to})


@runcast.function(resume=go_on)
def asks_in_a_thread(to: str, key: bytes = b"") -> None:
    runcast.content("before")
    runcast.ask("go on?", interrupt_id="q", keep={"step": 1, "to": to})


@runcast.function(resume=go_on)
async def asks_on_the_loop(to: str, key: bytes = b"") -> None:
    runcast.content("before")
    await runcast.ask("go on?", interrupt_id="q", keep={"step": 1, "to": to})


def recover(kept: Any, inputs: dict[str, Any], attempt: int, state: runcast.Snapshot) -> Any:
    known = told(kept=kept, inputs=inputs, attempt=attempt, state=state)
    runcast.emit("recovered", {**known, "process": os.getpid()})
    work(inputs, attempt)
    return {**known, "process": os.getpid()}


def work(inputs: dict[str, Any], attempt: int) -> None:
    """Work for ever, unless this is the attempt that may end."""
    runcast.emit("pid", os.getpid())
    runcast.keep({"attempt": attempt})
    runcast.content(f"attempt {attempt}")
    runcast.flush()
    if attempt < inputs["ends"]:
        threading.Event().wait()


@runcast.function(isolation="process", recover=recover)
def works_apart(ends: int, key: bytes = b"") -> None:
    work({"ends": ends}, 1)


@runcast.function(recover=recover)
def works_in_a_thread(ends: int, key: bytes = b"") -> None:
    work({"ends": ends}, 1)


@runcast.function(recover=recover)
async def works_on_the_loop(ends: int, key: bytes = b"") -> None:
    await runcast.keep({"attempt": 1})
    runcast.content("attempt 1")
    if ends > 1:
        await asyncio.Event().wait()


@runcast.function(recover=True, max_attempts=2)
def works_again(until: str) -> str:
    """Work until a file is there."""
    runcast.content("again")
    while not Path(until).exists():
        threading.Event().wait(0.01)
    return "end"


@runcast.function(isolation="process", recover=True, max_attempts=2)
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


WORKING = [works_apart, works_in_a_thread, works_on_the_loop]

ASKING = [asks_apart, asks_in_a_thread, asks_on_the_loop]


def main(url: str, name: str, inputs: str = "") -> None:
    function = globals()[name]
    settings = runcast.Settings(warm_processes=0, lease_s=0.3)
    with runcast.open_hub(url, functions=[function], settings=settings) as hub:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        if inputs:
            hub.start(function, json.loads(inputs), run_id="r")
        for event in hub.watch("r"):
            print(event.type, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
