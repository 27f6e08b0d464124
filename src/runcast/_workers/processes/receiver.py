"""The thread of a child process that reads what its parent sends while the function runs."""

import asyncio
import os
import selectors
import signal
import threading
from collections.abc import Callable
from typing import Final

from runcast._producing.writer import Writer
from runcast._workers.processes import control
from runcast._workers.processes.parent import Parent, make_writer

__all__ = ("Receiver",)

_AGAIN_S: Final = 0.2
_MOST_AGAIN: Final = 10
"""How often SIGINT is sent again if the main thread does not notice it; two seconds in all."""


class Receiver:
    """A thread that reads the parent's messages. When the parent is gone, it ends everything.

    It is a plain thread. Most functions need no loop beside them, and making one takes as long as a
    short function. The thread is started before the call, and reads only after `begin`.
    """

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        # Kept, because the function may give its number to another file, which must stay open.
        self._selector = selectors.DefaultSelector()
        self.is_interrupting = False
        """Whether this process sends SIGINT to itself."""
        self.has_interrupted = False
        """Whether the handler `on_interrupt` was called."""
        self.on_interrupt: Callable[..., None] | None = None
        """Our handler of SIGINT."""
        self._stops: list[control.Cancel | control.Interrupt] = []
        self._on_stop: Callable[[control.Cancel | control.Interrupt], None] | None = None
        self._may_read = threading.Lock()
        self._may_read.acquire()
        _start_thread("runcast-parent", self._read)

    def begin(self) -> None:
        """Let the thread read. Call it once, after the last command that another thread reads."""
        self._may_read.release()

    def make_writer(self, call: control.Call) -> Writer:
        """Return a writer for a function without a loop; its questions wait in a thread."""
        return make_writer(self._parent, call, self._make_loop)

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        """Return a loop that runs in a thread of its own, from the first call on."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                _start_thread("runcast-loop", self._loop.run_forever)
            return self._loop

    def on_stop(self, callback: Callable[[control.Cancel | control.Interrupt], None]) -> None:
        """Call a function, in this thread, with each command to stop; at once if one has come."""
        with self._lock:
            self._on_stop, stops = callback, self._stops
        for command in stops:
            callback(command)

    def interrupt(self) -> None:
        """Send SIGINT to this process and to the function's processes, as a terminal does."""
        self.is_interrupting = True
        os.killpg(0, signal.SIGINT)
        _start_thread("runcast-interrupt", self._interrupt_again)

    def _interrupt_again(self) -> None:
        """Send SIGINT to the main thread until it notices: its wait can miss a signal.

        See `result_of`. A handler of the function's own gets one signal.
        """
        main = threading.main_thread().ident
        never = threading.Event()
        for _ in range(_MOST_AGAIN):
            never.wait(_AGAIN_S)
            if self.has_interrupted or signal.getsignal(signal.SIGINT) is not self.on_interrupt:
                return
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    def _read(self) -> None:
        self._may_read.acquire()
        commands: list[control.Command] | None = self._parent.left()
        # A thread that waits in `recv` would keep the connection open although the function closes
        # it, and the parent would not notice.
        self._selector.register(self._parent.socket, selectors.EVENT_READ)
        while commands is not None:
            self._hear(commands)
            try:
                self._selector.select()
            except OSError:  # the function has closed all files
                return
            commands = self._parent.available()
        if self._parent.is_connected:
            # Kill the whole group: processes that the function started must not stay behind.
            os.killpg(0, signal.SIGKILL)

    def _hear(self, commands: list[control.Command]) -> None:
        for command in commands:
            if isinstance(command, control.Reply):
                self._parent.settle(command)
            elif isinstance(command, control.Cancel | control.Interrupt):
                with self._lock:
                    callback = self._on_stop
                    if callback is None:
                        self._stops.append(command)
                if callback is not None:
                    callback(command)


def _start_thread(name: str, target: Callable[[], object]) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()
