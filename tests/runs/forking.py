"""Functions that fork, and what they call in the forked process; run here and in processes."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, Final

import runcast
from runcast.compat import stream_writer_util
from runcast.compat.writer.flat_writer import StreamWriter as FlatWriter
from tests.waiting import WAIT_S

__all__ = ("CALLS", "calls", "calls_async", "in_child", "raising")


def in_child(call: Callable[[], object]) -> str:
    """Return what a call raises in a forked process; "hangs" if it does not come back there."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        said = ""
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(WAIT_S))
            said = f"returned {call()!r}"
        except BaseException as error:  # noqa: BLE001 - what it is, is what is asked
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    os.set_blocking(reading, False)  # what it said is there
    said_there = os.read(reading, 65536).decode()
    os.close(reading)
    return "hangs" if os.WIFSIGNALED(status) else said_there


def _run(call: Callable[[], Any]) -> Any:
    """Run a coroutine function in a loop of its own, which a forked process may have."""
    return asyncio.run(call())


_JOINING: Final = {"streaming": {"enabled": False}}

CALLS: Final[dict[str, Callable[[], object]]] = {
    "emit": lambda: runcast.emit("step"),
    "progress": lambda: runcast.progress(1, 2),
    "log": lambda: runcast.log("a line"),
    "content": lambda: runcast.content("a piece"),
    "track": lambda: list(runcast.track([1, 2])),
    "ask": lambda: runcast.ask("Go on?"),
    "flush": lambda: _run(runcast.flush),
    "drain": lambda: _run(runcast.drain),
    "bind": lambda: runcast.bind(runcast.log)("a line"),
    "StreamWriter": lambda: runcast.StreamWriter(node="a").thinking("hm"),
    "flat writer": lambda: FlatWriter("node").thinking("hm"),
    "joining writer": lambda: FlatWriter("node", config=_JOINING).content_streaming("a"),
    "send_queue": lambda: stream_writer_util.send_queue({"a": 1}, "step"),
    "outcome": lambda: stream_writer_util.send_queue({"a": 1}, "done"),
}


def calls() -> dict[str, str]:
    return {name: in_child(call) for name, call in CALLS.items()}


def raising() -> int:
    pid = os.fork()
    if not pid:
        raise ValueError("in the child")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def calls_async() -> dict[str, str]:
    return calls()
