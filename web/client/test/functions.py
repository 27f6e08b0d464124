"""Functions that the tests of the client invoke."""

import asyncio
from collections import defaultdict
from typing import Any, Final

import runcast
from runcast.demo.ticks import emit_events

__all__ = ("emit_events",)

_GATES: Final[dict[str, asyncio.Event]] = defaultdict(asyncio.Event)


@runcast.function
async def open_gate(gate: str) -> None:
    """Let the run go on that waits at a gate."""
    _GATES[gate].set()


@runcast.function
async def write(words: int = 3, gate: str = "", every: int = 0) -> dict[str, Any]:
    """Write words. With a gate, wait there before the last one; flush after every few."""
    runcast.emit("step_start", {"message": "writing"}, node="draft", agent="writer")
    for number in range(words):
        if gate and number == words - 1:
            await runcast.flush()
            await _GATES[gate].wait()
        runcast.content(f"word {number} ", message_id="text", node="draft", agent="writer")
        runcast.progress(number + 1, words, "words")
        if every and number % every == 0:
            await runcast.flush()
    runcast.emit("step_complete", {"message": "written"}, node="draft", agent="writer")
    return {"words": words}


@runcast.function
async def confirm(to: str) -> dict[str, Any]:
    """Ask before something is done."""
    answer = await runcast.ask(
        "Deploy?", action="deploy", args={"to": to}, interrupt_id="deploy", node="deploy"
    )
    return {"type": answer.type, "args": answer.args}


@runcast.function
async def listen() -> list[Any]:
    """Read messages until one says stop."""
    heard: list[Any] = []
    async for message in runcast.inbox():
        heard.append([message.sender, message.data])
        runcast.content(f"heard {len(heard)}")
        if message.data == "stop":
            break
    return heard


@runcast.function
def shout(text: str = "") -> int:
    """Write what a file says in capitals."""
    folder = runcast.workspace() / "data"
    given = sorted(path for path in (folder / "inputs").iterdir() if path.is_file())
    for path in given:
        (folder / "outputs" / path.name).write_text(path.read_text("utf-8").upper(), "utf-8")
    return len(given)


@runcast.function
def fail(text: str) -> None:
    """Fail."""
    raise runcast.RunFailed(text, "no_luck")
