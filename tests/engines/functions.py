"""Functions that the tests have workers run."""

import os
from pathlib import Path

import runcast


@runcast.function
def count(n: int) -> dict[str, int]:
    """Count, in a thread, as fast as the store takes it."""
    runcast.emit("pid", os.getpid())
    for number in range(n):
        runcast.progress(number + 1, n)
        runcast.flush()
    return {"n": n}


@runcast.function(recover=True)
async def read_message() -> object:
    """Return the first message."""
    runcast.emit("pid", os.getpid())
    async for message in runcast.inbox():
        return message.data
    return None


@runcast.function
async def ask(question: str) -> object:
    """Ask, and return the answer."""
    return (await runcast.ask(question, interrupt_id="q")).args


@runcast.function(isolation="process")
def write_file(text: str) -> str:
    """Write a file, in a process of the run's own."""
    Path("data/outputs/out.txt").write_text(text)
    return text.upper()
