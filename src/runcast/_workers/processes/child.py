"""The code of a child process: runs one function, once.

The main thread imports the function's module and runs it, as in a script. So signals, event loops
and libraries that need the main thread work. Another thread reads the parent's messages.

The function's output and its `atexit` functions come before its ending. The ending ends the
process: remaining threads do not keep it alive.
"""

import asyncio
import atexit
import contextlib
import functools
import importlib
import importlib.util
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType, ModuleType
from typing import Any, Final

from runcast._functions.function import Function, Source
from runcast._hub.forks import leave_fork
from runcast._logs import format_error
from runcast._producing.context import using
from runcast._producing.writer import Writer
from runcast._workers.drive import drive_async, drive_in_thread, outcome_of
from runcast._workers.left_behind import end_left_children
from runcast._workers.processes import control
from runcast._workers.processes.forking import Forker
from runcast._workers.processes.lifeline import die_with_parent
from runcast._workers.processes.parent import Parent, make_writer
from runcast._workers.processes.receiver import Receiver
from runcast._workers.traces import trace_of_function
from runcast.errors import Cancelled, InvalidValue, RuncastError, UncheckedInput
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import Outcome, failed, is_clean_exit
from runcast.events.position import is_run_id

__all__ = ("find_function", "import_source", "main")

_SCRIPT: Final = "__mp_main__"
"""The script's module name in processes spawned by `multiprocessing`."""

_NOTICE_S: Final = 0.1
"""How long a loop may take to notice that its task was cancelled, before it counts as blocked."""


def main(control_fd: int, lifeline_fd: int) -> None:
    """Wait for a call, make it, send its outcome, and end the process."""
    lifeline = die_with_parent(lifeline_fd)
    warnings.simplefilter("ignore", UncheckedInput)  # the server warned at its start
    os.set_inheritable(control_fd, False)
    for stream in (sys.stdout, sys.stderr):
        # Write text by the line, not by the argument of `print`.
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    parent = Parent(socket.socket(fileno=control_fd))
    loading: _Loading | None = None
    receiver: Receiver | None = None
    while True:
        if loading is not None and receiver is None:
            with contextlib.suppress(RuntimeError):  # no thread can be started: the call will tell
                receiver = Receiver(parent)
        command = parent.receive()
        if isinstance(command, control.Load):
            loading = loading or _Loading(command.source)
            parent.send(loading.report)
        elif isinstance(command, control.Serve):
            # Returns in each process that is forked for a call.
            parent, loading = _serve(parent, lifeline, command.source)
        elif isinstance(command, control.Call):
            _leave(parent, _call(parent, command, loading, receiver), command)
        elif command is None:
            os._exit(0)


def _serve(
    parent: Parent, lifeline: int, source: Source | None
) -> "tuple[Parent, _Loading | None]":
    forker = Forker(parent, lifeline)
    if source is None:
        return forker.serve("", []), None
    loading = _Loading(source)
    error = loading.report.error
    problem = f"it cannot be imported: {error}" if error else ""
    return forker.serve(problem, [source.file]), loading


class _Loading:
    """The import of a function's module, or its error."""

    def __init__(self, source: Source) -> None:
        self.module: ModuleType | None = None
        self.report = control.Loaded()
        sys.path[:0] = [path for path in source.paths if path not in sys.path]
        try:
            self.module = import_source(source)
        except BaseException as error:  # noqa: BLE001 - SystemExit, too; reported to the parent
            self.report = control.Loaded(type(error).__name__, _trace(error))


def import_source(source: Source) -> ModuleType:
    """Import a module by its name if that leads to its file, or else as a script.

    Raises what the module raises.
    """
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(source.module)
        if spec and spec.origin and os.path.realpath(spec.origin) == os.path.realpath(source.file):
            return importlib.import_module(source.module)
    return _import_script(source.file)


def _import_script(file: str) -> ModuleType:
    """Import a file as this process's script, but not as `__main__`.

    It becomes what `multiprocessing` makes of the script in processes that it spawns. So processes
    spawned by a function find the script and its functions.
    Source: `multiprocessing.spawn._fixup_main_from_path`.
    """
    spec = importlib.util.spec_from_file_location(_SCRIPT, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"expected a Python file, got {file!r}")
    module = importlib.util.module_from_spec(spec)
    # Spawned processes must look for the file, not for a module of that name
    module.__spec__ = None
    sys.modules["__main__"] = sys.modules[_SCRIPT] = module
    spec.loader.exec_module(module)
    return module


def _call(
    parent: Parent, call: control.Call, loading: _Loading | None, receiver: Receiver | None
) -> Outcome:
    try:
        os.chdir(call.folder)
        os.environ.update(call.environment)
        if call.memory_bytes:
            _limit_memory(call.memory_bytes)
        if loading is None:
            loading = _Loading(call.source)
            parent.send(loading.report)
        if loading.module is None:
            return failed(f"it cannot be imported: {loading.report.error}", "import_failed")
        signal.signal(signal.SIGTERM, _interrupt)
        function = find_function(loading.module, call.attribute)
        if call.continuation is not None:
            arguments = call.continuation.arguments_of(function)
        else:
            arguments = (function.adopt if call.is_plain else function.convert)(call.inputs)
        receiver = receiver or Receiver(parent)
        receiver.begin()
        if function.kind in ("coroutine", "async_generator"):
            return asyncio.run(_run_async(parent, receiver, function, arguments, call))
        return _run(parent, receiver, function, arguments, call)
    except BaseException as error:  # noqa: BLE001 - it becomes the ending
        return _failed_with(parent, error, call)


def _run(
    parent: Parent,
    receiver: Receiver,
    function: Function[..., Any],
    arguments: dict[str, Any],
    call: control.Call,
) -> Outcome:
    writer = receiver.make_writer(call)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        receiver.on_interrupt = functools.partial(_interrupt_once, receiver, writer)
        signal.signal(signal.SIGINT, receiver.on_interrupt)

    def stop(command: control.Cancel | control.Interrupt) -> None:
        if isinstance(command, control.Cancel):
            writer.request_cancel(command.reason)
        else:
            receiver.interrupt()

    receiver.on_stop(stop)
    with using(writer):
        try:
            ending = drive_in_thread(
                function.call, arguments, writer, lambda: _note_stream(parent, function)
            )
        except BaseException as error:  # noqa: BLE001 - see above
            ending = _failed_with(parent, error, call)
        writer.note_cancelled()  # from here on nothing is interrupted
        return writer.conclude(ending)


async def _run_async(
    parent: Parent,
    receiver: Receiver,
    function: Function[..., Any],
    arguments: dict[str, Any],
    call: control.Call,
) -> Outcome:
    writer = make_writer(parent, call)
    loop = asyncio.get_running_loop()
    with using(writer):
        work = asyncio.ensure_future(
            drive_async(function.call, arguments, writer, lambda: _note_stream(parent, function))
        )

        has_noticed = threading.Event()

        def cancel() -> None:
            has_noticed.set()
            work.cancel()

        def stop(command: control.Cancel | control.Interrupt) -> None:
            # A cancelled task ends at once. A second exception would break its clean-up.
            if isinstance(command, control.Cancel):
                writer.request_cancel(command.reason)
                loop.call_soon_threadsafe(cancel)
                _interrupt_blocked(has_noticed)

        receiver.on_stop(stop)
        try:
            ending = await work
        except BaseException as error:  # noqa: BLE001 - see above
            ending = _failed_with(parent, error, call)
        ending = writer.conclude(ending)
    # The loop may not end, because a task may refuse to be cancelled. Threads must not keep it
    # either, so it gets a new executor without threads.
    _send_ending(parent, ending, call)
    loop.set_default_executor(ThreadPoolExecutor(1))
    return ending


def _interrupt_blocked(has_noticed: threading.Event) -> None:
    """Interrupt the main thread if it does not notice a cancellation: a call blocks its loop."""
    if threading.current_thread() is threading.main_thread():
        return  # the loop is about to begin
    if not has_noticed.wait(_NOTICE_S) and signal.getsignal(signal.SIGTERM) is _interrupt:
        os.kill(os.getpid(), signal.SIGTERM)


def _note_stream(parent: Parent, function: Function[..., Any]) -> None:
    if not function.is_certain:
        parent.send(control.Stream())


def find_function(module: ModuleType, dotted: str) -> Function[..., Any]:
    """Return a function of a module. Raises `InvalidValue` if there is no such function."""
    value: Any = module
    for name in dotted.split("."):
        value = getattr(value, name, None)
    if isinstance(value, Function):
        return value
    if not callable(value):
        raise InvalidValue(f"there is no function {dotted!r} in {module.__name__}")
    # Pass a name, because not every callable has a usable name.
    return Function(value, name=dotted if is_run_id(dotted) else "function")


def _limit_memory(limit: int | None) -> None:
    """Limit this process's memory, in bytes; None lifts the limit again."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if limit is None or most != resource.RLIM_INFINITY:
        limit = most if limit is None else min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End a function that does not end by itself: raises in the main thread."""
    raise Cancelled("terminated")


class _Interrupted(Cancelled, KeyboardInterrupt):
    """Raised wherever the function is. Clean-up for either of the two runs."""


def _interrupt_once(
    receiver: Receiver, writer: Writer, number: int, frame: FrameType | None
) -> None:
    """Interrupt the function, unless it cleans up already or has ended."""
    receiver.has_interrupted = True
    if not receiver.is_interrupting:  # a signal of its own
        signal.default_int_handler(number, frame)
    if writer.note_cancelled():
        raise _Interrupted("interrupted")


def _failed_with(parent: Parent, error: BaseException, call: control.Call) -> Outcome:
    if not parent.is_ours:
        leave_fork(error, call.run_id)
    is_expected = isinstance(error, RuncastError | Cancelled | asyncio.CancelledError)
    if not is_expected and not is_clean_exit(error):
        parent.send(control.Trace(_trace(error)))
    return outcome_of(error)


def _trace(error: BaseException) -> str:
    """Return a traceback that begins in the user's code, without our own frames."""
    return format_error(error, trace_of_function(error))


def _leave(parent: Parent, ending: Outcome, call: control.Call) -> None:
    """Send the function's outcome, run the exit functions, and end the process.

    The parent waits for this at most `exit_wait_s`.
    """
    if not parent.is_ours:  # the function forked, and both processes returned from it
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT):
        _try(functools.partial(signal.signal, number, signal.SIG_IGN))
    _send_ending(parent, ending, call)
    # It would wait for all processes that the function left, so these are killed first.
    finish = getattr(sys.modules.get("multiprocessing.util"), "_exit_function", None)
    if finish is not None:
        atexit.unregister(finish)
    _try(atexit._run_exitfuncs)
    _try(end_left_children)
    if finish is not None:
        _try(finish)
    _try(sys.stdout.flush)
    _try(sys.stderr.flush)
    _try(lambda: parent.send_frame(control.encode_frame(control.END, b"")))
    os._exit(0)


def _send_ending(parent: Parent, ending: Outcome, call: control.Call) -> None:
    if call.memory_bytes:
        _try(lambda: _limit_memory(None))
    longest = max(call.max_event_bytes, OWN_EVENT_BYTES)
    try:
        limit = call.max_event_bytes if ending.type == "done" else longest
        record = encode_record(ending.type, ending.data, 0.0, None, limit)
    except RuncastError as error:
        ending = failed(f"the result cannot be stored: {error.public}", error.code)
        record = encode_record(ending.type, ending.data, 0.0, None, longest)
    _try(lambda: parent.send_frame(control.encode_frame(control.RETURNED, record)))


def _try(call: Callable[[], object]) -> None:
    """Call a function whose failure does not matter."""
    with contextlib.suppress(BaseException):
        call()
