"""Functions that tests run in processes of their own, and here beside them."""
# ruff: noqa: T201 - what they print is what is tested

import asyncio
import atexit
import contextlib
import ctypes
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pydantic

import runcast

COUNTER = {"calls": 0}
"""What a call leaves behind in its module, for the next to find."""


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(alias="no")
    key: pydantic.SecretStr | None = None


# --- one of each kind -----------------------------------------------------------------------------


def generator(n: int) -> Iterator[Any]:
    for number in range(n):
        runcast.progress(number + 1, n)
        yield {"type": "step", "data": {"n": number}, "node": "counter"}
    yield None
    yield "text"
    yield {"type": "done", "data": {"counted": n}}


async def async_generator(n: int) -> AsyncIterator[Any]:
    for number in range(n):
        await asyncio.sleep(0)
        yield {"type": "step", "data": {"n": number}}
    yield {"type": "done", "data": "all"}


async def coroutine(n: int) -> int:
    for _ in runcast.track([1]):
        await asyncio.sleep(0)
    runcast.emit("step", {"n": n}, agent="a", path=["b"], duration=0.5)
    return n


def returns_what_it_is_given(order: Order | Point, *, files: list[Path] | None = None) -> Any:
    return {"type": type(order).__name__, "order": order, "files": files}


def waits_in_a_process() -> list[int]:
    seen = []
    for number in range(3):
        runcast.emit("tick", number)
        runcast.drain()
        seen.append(runcast.flush().seq)
    return seen


def plain(n: int) -> dict[str, Any]:
    runcast.content("a")
    runcast.content("b")
    runcast.log("careful", "warning")
    return {"n": n, "nan": float("nan"), "text": "\u2028\ud800"}


def refused(n: int) -> None:
    for kind, data in (("done", n), ("Bad Type", n), ("step", object()), ("step", "x" * 2_000_000)):
        try:
            runcast.emit(kind, data)
        except runcast.RuncastError as error:
            runcast.emit("refused", str(error.code))


def told_error(n: int) -> Iterator[dict[str, Any]]:
    yield {"type": "start", "data": {"n": n}}
    yield {"type": "error", "data": "no such thing", "error_code": "NOT_THERE"}


def raising(n: int) -> None:
    raise ValueError(n)


def own_failure(n: int) -> None:
    raise runcast.RunFailed(f"there are {n} too many", "too_many")


def exiting(n: int) -> None:
    sys.exit(n)


def exiting_well(n: int) -> None:
    sys.exit()


KINDS = (
    *(generator, async_generator, coroutine, plain),
    *(refused, told_error, raising, own_failure, exiting, exiting_well),
)


# --- the world it finds ---------------------------------------------------------------------------


@runcast.function(isolation="process")
def converted(at: Point, path: Path = Path("a")) -> list[str]:
    return [type(at).__name__, str(at.x + at.y), type(path).__name__]


@runcast.function(isolation="process")
def world(leave: str) -> dict[str, Any]:
    COUNTER["calls"] += 1
    found = os.environ.get("LEFT", "")
    os.environ["LEFT"] = leave
    os.chdir("/")
    return {
        "calls": COUNTER["calls"],
        "left": found,
        "token": os.environ.get("RUNCAST_TOKEN", ""),
        "main": threading.current_thread() is threading.main_thread(),
        "session": os.getsid(0) == os.getpid(),
        "stdin": sys.stdin.read(),
        "pid": os.getpid(),
    }


@runcast.function(isolation="process")
def from_threads() -> None:
    def work() -> None:
        for number in range(50):
            runcast.emit("step", {"n": number})

    threads = [threading.Thread(target=runcast.bind(work)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@runcast.function(isolation="process")
async def flushing() -> int:
    runcast.emit("step", 1)
    position = await runcast.flush()
    assert position is not None
    return position.seq


@runcast.function(isolation="process")
def asking(times: int) -> list[str]:
    return [runcast.ask(f"again? {number}").type for number in range(times)]


@runcast.function(isolation="process")
def asking_when_cancelled(last: str) -> None:
    runcast.emit("stuck")
    try:
        for _ in runcast.inbox():
            pass
    finally:
        if last == "answer":
            runcast.ask("may it be removed?")
        else:
            next(runcast.inbox())


@runcast.function(isolation="process")
async def asking_async() -> str:
    try:
        await runcast.ask("twice", interrupt_id="a/b")
    except runcast.RuncastError as error:
        runcast.emit("refused", error.code)
    answer = await runcast.ask("sure?", args={"n": 1}, timeout_s=60)
    return f"{answer.type} {answer.args}"


@runcast.function(isolation="process")
def interrupted(times: int) -> int:
    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    for _ in range(times):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            while True:
                runcast.emit("step", {"text": "x" * 200_000})
        except KeyboardInterrupt:
            pass
    return times


@runcast.function(isolation="process")
def handling(times: int) -> int:
    handled = 0

    def handle(number: int, frame: object) -> None:
        nonlocal handled
        handled += 1
        runcast.emit("handled", {"n": handled})
        runcast.content("on ")
        signal.setitimer(signal.ITIMER_REAL, 0.0005)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    while handled < times:
        runcast.emit("step", {"text": "x" * 200_000})
    signal.setitimer(signal.ITIMER_REAL, 0)
    return handled


@runcast.function(isolation="process")
def printing(lines: int) -> None:
    for number in range(lines):
        print("line", number)
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"\xff raw\rmore\n\n")
    os.write(1, b"from below\n")
    subprocess.run(["sh", "-c", "echo from a child"], check=True)
    print("no end of line", end="")
    atexit.register(print, " and at exit", end="")


@runcast.function(isolation="process")
def long_line(size: int) -> None:
    print("x" * size)


@runcast.function(isolation="process")
def flooding() -> Iterator[None]:
    block = b"flood\n" * 1000
    while True:
        os.write(1, block)
        yield None


def hold() -> None:
    """Wait for ever, where only a signal reaches."""
    threading.Event().wait()


@runcast.function(isolation="process")
def asking_oddly() -> None:
    questions: list[dict[str, Any]] = [
        {"message": 5},
        {"message": "x" * 2_000_000},
        {"message": "?", "args": object()},
        {"message": "?", "timeout_s": float("inf")},
        {"message": "?", "config": 5},
    ]
    for question in questions:
        try:
            runcast.ask(**question)
        except runcast.RuncastError as error:
            runcast.emit("refused", str(error.code))


# --- ways to die ----------------------------------------------------------------------------------


@runcast.function(isolation="process")
def die(number: int) -> None:
    runcast.emit("step", "before")
    os.kill(os.getpid(), number)
    hold()


@runcast.function(isolation="process")
def leave(code: int) -> None:
    print("last words", flush=True)
    os._exit(code)


@runcast.function(isolation="process")
def eat_memory() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(16 << 20))


@runcast.function(isolation="process")
def stuck_in_c() -> None:
    """Hold the interpreter, so that no other thread of it and no signal handler runs."""
    runcast.emit("stuck", os.getpid())
    lock = ctypes.create_string_buffer(256)
    for _ in range(2):
        ctypes.PyDLL(None).pthread_mutex_lock(lock)


@runcast.function(isolation="process")
def catastrophe() -> None:
    runcast.emit("stuck", os.getpid())
    re.match(r"(a+)+$", "a" * 64 + "b")


@runcast.function(isolation="process")
def waiting(stubborn: bool = False) -> Iterator[dict[str, Any]]:
    """Wait where only a signal reaches it; go on after the first if it is stubborn."""
    while True:
        try:
            yield {"type": "stuck", "data": os.getpid()}
            hold()
        except BaseException as error:
            print("ended by", type(error).__name__)
            if not stubborn:
                raise


@runcast.function(isolation="process")
def busy() -> Iterator[dict[str, Any]]:
    try:
        for number in range(10**9):
            yield {"type": "step", "data": number}
    finally:
        runcast.emit("closed", threading.current_thread() is threading.main_thread())


@runcast.function(isolation="process")
async def blocks_its_loop() -> None:
    runcast.emit("stuck", os.getpid())
    try:
        threading.Event().wait()  # what a coroutine should not do
    finally:
        runcast.emit("closed")


@runcast.function(isolation="process")
async def busy_async() -> AsyncIterator[dict[str, Any]]:
    try:
        yield {"type": "stuck", "data": os.getpid()}
        await asyncio.Event().wait()
    finally:
        runcast.emit("closed")


@runcast.function(isolation="process")
def forking() -> str:
    """Come back twice: as itself, and as the process that it forked."""
    pid = os.fork()
    if not pid:
        try:
            runcast.emit("step", "from the fork")
        except runcast.RuncastError:
            return "forked"
    os.waitpid(pid, 0)
    return "itself"


@runcast.function(isolation="process")
def leaving_forks() -> Iterator[dict[str, Any]]:
    """Leave a process behind, which holds everything open that it inherited."""
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            hold()
    yield {"type": "forked", "data": [os.getpid(), pid]}


@runcast.function(isolation="process")
def leaving_forks_and_staying() -> Iterator[dict[str, Any]]:
    yield from leaving_forks()
    hold()


@runcast.function(isolation="process")
def closing_files(after_answer: bool) -> str:
    if after_answer:
        runcast.flush()  # so that the connection is being read
    os.closerange(3, 1000)
    hold()
    return "never"


@runcast.function(isolation="process")
def forging(what: str) -> None:
    """Write to the socket what no child process writes."""
    inlet: Any = getattr(runcast.current_writer(), "_inlet", None)
    frames = {
        "rubbish": b"rubbish that is long enough to have a length",
        "ending": _frame(b'E"time":1.0,"type":"done","data":{}}'),
        "seq": _frame(b'E"time":1.0,"type":"step","data":1,"seq":99,"x":[\n]}'),
        "kind": _frame(b"?{}"),
        "json": _frame(b"E{{{{"),
        "huge": (1 << 30).to_bytes(4) + b"E",
        "returned": _frame(b'R"time":1.0,"type":"step","data":{}}'),
        "end": _frame(b"X"),
        "question": _frame(b'A{"number":"one"}'),
    }
    os.write(inlet._parent.socket.fileno(), frames[what])
    if what != "seq":
        hold()


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4) + body


@runcast.function(isolation="process")
def talking(n: int) -> None:
    for number in range(n):
        runcast.emit("step", {"n": number, "text": "x" * 100})


def unreachable() -> NoReturn:
    raise AssertionError


# --- what they leave behind -----------------------------------------------------------------------


@runcast.function(isolation="process")
def leaves_pool() -> int:
    pool = ProcessPoolExecutor(2)
    pool.submit(time.sleep, 600)
    return pool.submit(abs, -3).result()


@runcast.function(isolation="process")
def leaves_idle_pool() -> int:
    return ProcessPoolExecutor(1).submit(abs, -3).result()


@runcast.function(isolation="process")
def leaves_child() -> int:
    multiprocessing.Process(target=time.sleep, args=(600,)).start()
    return 3


@runcast.function(isolation="process")
def leaves_orphans() -> int:
    for _ in range(3):
        subprocess.run(["sh", "-c", "sleep 600 & sleep 600 & exit 0"], check=True)
    return 3


@runcast.function(isolation="process")
def leaves_daemon() -> int:
    multiprocessing.Process(target=ignore_sigterm, daemon=True).start()
    return 3


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hold()


@runcast.function(isolation="process")
def leaves_threads() -> int:
    ThreadPoolExecutor(1).submit(time.sleep, 600)
    threading.Thread(target=time.sleep, args=(600,), daemon=False).start()
    return 3


@runcast.function(isolation="process")
async def leaves_to_thread() -> int:
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    return 3


@runcast.function(isolation="process")
async def leaves_stubborn_task() -> int:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    COUNTER["task"] = id(asyncio.create_task(stubborn()))
    await asyncio.sleep(0)
    return 3


@runcast.function(isolation="process")
def leaves_queue() -> int:
    """Have `multiprocessing` wait at exit until somebody reads what was put."""
    queue: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    queue.put(b"x" * 1_000_000)
    return 3


@runcast.function(isolation="process")
def leaves_exit_handler() -> int:
    atexit.register(time.sleep, 600)
    return 3


def linger() -> None:
    print("lingers")
    hold()


@runcast.function(isolation="process")
def lingers_at_exit() -> int:
    atexit.register(linger)
    return 3


@runcast.function(isolation="process")
def ends_at_exit() -> int:
    atexit.register(os._exit, 7)
    return 3


@runcast.function(isolation="process")
def says_more_at_exit() -> int:
    writer = runcast.current_writer()
    assert writer is not None
    atexit.register(writer.emit, "step", {"n": 1})
    return 3
