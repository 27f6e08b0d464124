"""What runs in a script's process before the script, and the script itself.

The script finds what Python would have given it: `sys.argv`, `sys.path[0]`, `__main__`, its exit
code, its traceback. Different are that standard output and error are pipes, that `input()` may be
answered by a watcher, and that the sources report what it logs and the bars it shows.
"""

import builtins
import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import runpy
import signal
import socket
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from typing import Any, Final

import msgspec

from runcast._hub.forks import Home
from runcast._producing.context import write_everywhere
from runcast._producing.quiet import QUIET
from runcast._scripts.control import Start
from runcast._scripts.marks import ERR, OUT, Marker
from runcast._scripts.writing import Owner, ScriptWriter
from runcast.errors import RuncastError
from runcast.sources import ON_IMPORT

__all__ = ("main",)

_PR_SET_PDEATHSIG: Final = 1
"""Linux: chooses the signal that a process gets when its parent dies."""

_LONG_CHARS: Final = 1024


def main(given: str, interrupting: Any) -> None:
    """Run a script as `Start` says. Raises what the script raises.

    Args:
        given: the `Start`, as JSON.
        interrupting: the handler of SIGINT that the script is to have.
    """
    start = msgspec.json.decode(given, type=Start)
    _die_with_parent(start.parent)
    os.set_inheritable(start.control, False)
    marker = Marker(start.nonce, os.dup(1), os.dup(2))
    owner = Owner(socket.socket(fileno=start.control), marker)
    for stream, name in ((OUT, "stdout"), (ERR, "stderr")):
        _tap(marker, stream, name)
    QUIET.before = _flush
    os.environ.setdefault("PYTHONUNBUFFERED", "1")  # its Python children print when they print
    writer = ScriptWriter(owner, start)
    write_everywhere(writer)
    sources = _Sources(writer)
    sources.turn_on("logging")
    sys.meta_path.insert(0, sources)
    if start.asks:
        builtins.input = _Input(owner)
    try:
        if interrupting is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupting)
        _run(start)
    except BaseException as error:
        _hide_our_frames(error)
        raise


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(1)


class _Tapped(io.TextIOWrapper):
    """A standard file that marks what it writes.

    Not by a raw file of ours: if Ctrl-C came while that has written, Python would write it again.
    """

    marker: Marker
    stream: int

    def write(self, text: str, /) -> int:
        # Only a line's end has it written now; so much without one may not fit the buffer.
        if "\n" in text or "\r" in text or len(text) > _LONG_CHARS:
            return self.marker.write(
                self.stream, lambda: super(_Tapped, self).write(text), is_quiet=QUIET.is_set
            )
        return super().write(text)

    def flush(self) -> None:
        if self.closed:
            super().flush()  # which refuses it
            return
        self.marker.write(self.stream, super().flush, is_quiet=QUIET.is_set)


def _tap(marker: Marker, stream: int, name: str) -> None:
    present = getattr(sys, name)
    present.flush()
    tapped = _Tapped(
        open(stream + 1, "wb", closefd=False),  # noqa: SIM115 - as long as the process lives
        encoding=present.encoding,
        errors=present.errors,
        newline="\n",
        line_buffering=True,
    )
    tapped.marker, tapped.stream = marker, stream
    tapped.mode = "w"  # type: ignore[misc]
    setattr(sys, name, tapped)
    setattr(sys, f"__{name}__", tapped)


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # the script may have closed it
            if stream is not None:
                stream.flush()


class _Input:
    """`input()`, which a watcher or the person at the terminal answers."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._home = Home()
        self._plain = builtins.input

    def __call__(self, prompt: object = "", /) -> str:
        if not self._home.is_here:
            return self._plain(prompt)
        _flush()
        return self._owner.read_line(str(prompt))


class _Sources(importlib.abc.MetaPathFinder):
    """Turns each source on once the script has imported the module that it is for."""

    def __init__(self, writer: ScriptWriter) -> None:
        self._writer = writer
        self._on = contextlib.ExitStack()  # until the process ends
        self._is_asked = False

    def turn_on(self, module: str) -> None:
        """Turn on the source of a module, or say in the run's log why that is impossible."""
        name, *arguments = ON_IMPORT[module]
        try:
            source = importlib.import_module(f"runcast.sources.{name}")
            self._on.enter_context(source.stream(*arguments))
        except ImportError as error:  # its package is too old
            with contextlib.suppress(RuncastError):
                self._writer.log(str(error), "warning", logger="runcast.sources")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return what the other finders find, with a loader that turns the source on."""
        if name not in ON_IMPORT or self._is_asked:
            return None
        self._is_asked = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._is_asked = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, partial(self.turn_on, name))
        return spec


class _Loader(importlib.abc.Loader):
    """A loader that turns a source on when its module is there."""

    def __init__(self, loader: Any, then: Callable[[], None]) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        module: types.ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then()


def _run(start: Start) -> None:
    sys.argv[:] = [start.script, *start.arguments]
    if start.is_module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(start.script, run_name="__main__", alter_sys=True)
        return
    if not os.path.isfile(start.script):  # a folder, or a zip file, with a __main__.py
        sys.path.insert(0, start.script)
        runpy.run_path(start.script, run_name="__main__")
        return
    sys.path.insert(0, os.path.dirname(os.path.realpath(start.script)))
    # Not by `runpy`: the module must be there as long as threads and `atexit` may use it.
    file = os.path.abspath(start.script)
    module = types.ModuleType("__main__")
    module.__file__ = file
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    module.__loader__ = SourceFileLoader("__main__", file)
    module.__dict__["__cached__"] = None
    sys.modules["__main__"] = module
    with io.open_code(file) as opened:
        code = compile(opened.read(), file, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def _hide_our_frames(error: BaseException) -> None:
    """Have the traceback begin in the script, as it would without us."""
    show = sys.excepthook

    def show_script(
        kind: type[BaseException], raised: BaseException, trace: types.TracebackType | None
    ) -> None:
        if raised is error:
            while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
                trace = trace.tb_next
            raised = raised.with_traceback(trace)
        show(kind, raised, trace)

    sys.excepthook = show_script


def _is_ours(file: str) -> bool:
    return file in (__file__, "<string>", runpy.__file__) or file.startswith("<frozen runpy")
