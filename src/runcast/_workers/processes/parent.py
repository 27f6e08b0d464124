"""The parent from its child's side: the process that runs the hub and takes the run's events."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from runcast import errors
from runcast._clock import SystemClock
from runcast._hub.forks import Home, make_rlock
from runcast._hub.interrupts import result_of
from runcast._producing.answers import Answer
from runcast._producing.keeping import as_kept
from runcast._producing.messages import Message
from runcast._producing.writer import Writer
from runcast._workers.processes import control
from runcast._workers.processes.descriptor import Descriptor
from runcast.errors import InvalidValue, RuncastError, RunClosed, RunTooLarge
from runcast.events.model import Place, decode_event, encode_record
from runcast.stores.base import Appended

__all__ = ("Parent", "make_writer")

T = TypeVar("T")

_MAX_FRAME_BYTES: Final = 1 << 30
"""Longest command: larger than any request's body that the server accepts."""

_SEND_BYTES: Final = 4 << 20
"""Buffer of frames, so that a frame is sent whole even if a signal handler raises."""


class Parent:
    """The other end of the socket. Send from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._descriptor = Descriptor(connection.fileno())
        self._home = Home()
        # Reentrant, because a signal handler may send in the middle of its thread's sending.
        self._lock = make_rlock()
        self._unsent: deque[bytes] = deque()
        self._is_sending = False
        # If a signal handler raises, the writer knows how far it came and continues from there.
        # `sendall` would leave half a frame, and the parent would take the next frame for the rest.
        self._sending = open(connection.fileno(), "wb", _SEND_BYTES, closefd=False)  # noqa: SIM115
        self._frames = control.Frames(_MAX_FRAME_BYTES)
        self._commands: list[control.Command] = []
        self._numbers = itertools.count()
        self._waiting: dict[int, concurrent.futures.Future[Any]] = {}

    @property
    def is_ours(self) -> bool:
        """Whether this process is the child itself, not a process that the function forked."""
        return self._home.is_here

    @property
    def is_connected(self) -> bool:
        """Whether the connection was not closed here: the function may close any descriptor."""
        return self._descriptor.is_ours

    def receive(self) -> control.Command | None:
        """Wait for the next command; None once the parent is gone."""
        while not self._commands:
            if not self._read():
                return None
        return self._commands.pop(0)

    def available(self) -> list[control.Command] | None:
        """Wait for commands and return them; None once the parent is gone, or the connection was
        closed here."""
        is_there = self._read()
        commands, self._commands = self._commands, []
        return commands or ([] if is_there else None)

    def left(self) -> list[control.Command]:
        """Return the commands that came together with the last received one."""
        commands, self._commands = self._commands, []
        return commands

    def _read(self) -> bool:
        if not self._descriptor.is_ours:
            return False
        try:
            data = self.socket.recv(65536)
        except OSError:
            return False
        self._commands += [control.decode_command(body) for _, body in self._frames.feed(data)]
        return bool(data)

    def send(self, message: control.Report) -> None:
        """Send a message; raises what `send_frame` raises."""
        self.send_frame(control.encode(message))

    def send_frame(self, frame: bytes) -> None:
        """Send a frame; waits while the parent has no room.

        Raises:
            InvalidValue: called in a process that the function forked, whose frames would mix with
                ours.
            RunClosed: the parent is gone, or the connection to it was closed here.
        """
        self._home.check("emit()")
        if not self._descriptor.is_ours:
            raise RunClosed("this process has closed the connection to the server")
        try:
            with self._lock:
                self._unsent.append(frame)
                if not self._is_sending:  # otherwise the interrupted call sends it
                    self._send_all()
        except OSError:
            raise RunClosed("the server is gone") from None

    def _send_all(self) -> None:
        self._is_sending = True
        try:
            while self._unsent:
                self._sending.write(self._unsent.popleft())
                self._sending.flush()
        finally:
            self._is_sending = False

    def request(
        self, make: Callable[[int], control.Ask | control.Flush | control.Keep | control.Receive]
    ) -> concurrent.futures.Future[Any]:
        """Send a message that a `Reply` answers, and return a future for the answer."""
        return self.request_frame(lambda number: control.encode(make(number)))

    def request_frame(self, make: Callable[[int], bytes]) -> concurrent.futures.Future[Any]:
        """Send a frame that a `Reply` answers, and return a future for the answer."""
        number = next(self._numbers)
        future = self._waiting[number] = concurrent.futures.Future[Any]()
        try:
            self.send_frame(make(number))
        except BaseException:
            del self._waiting[number]
            raise
        return future

    def settle(self, reply: control.Reply) -> None:
        """Pass an answer to its waiting caller, if any."""
        future = self._waiting.pop(reply.number, None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if reply.code:
            future.set_exception(_error(reply.code, reply.message))
        else:
            future.set_result(reply.value)


def _error(code: str, message: str) -> RuncastError:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, RuncastError) and kind.code == code:
            with contextlib.suppress(TypeError):  # an error class that needs more than a message
                return kind(message)
    return RuncastError(message)


def make_writer(
    parent: Parent,
    call: control.Call,
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Writer:
    """Return a writer; its questions wait on the running loop, or on the one that is made."""
    inlet = _Inlet(parent, call, make_loop or asyncio.get_running_loop)
    folder = Path(call.folder)
    questions, mailbox = _Questions(parent, call), _Mailbox(parent)
    most = call.max_event_bytes
    return Writer(
        inlet,
        SystemClock(),
        most,
        questions,
        lambda: folder,
        mailbox=mailbox,
        make_loop=make_loop,
    )


class _Inlet:
    """The target of a writer's records: the parent, which commits them."""

    def __init__(
        self,
        parent: Parent,
        call: control.Call,
        make_loop: Callable[[], asyncio.AbstractEventLoop],
    ) -> None:
        self._parent = parent
        self._make_loop = make_loop
        self.run_id = call.run_id
        self._events_left = call.max_events or sys.maxsize
        self._bytes_left = call.max_bytes or sys.maxsize

    def put(self, record: bytes) -> None:
        """Send a record. It waits for room even in a coroutine, because nothing else shares its
        loop.

        Raises:
            RunTooLarge: the run has reached its limit.
        """
        if self._events_left < 1 or self._bytes_left < len(record):
            raise RunTooLarge(
                f"the run {self.run_id!r} has emitted as much as a run may (max_events_per_run, "
                "max_bytes_per_run): emit less, or write to a file"
            )
        self._events_left -= 1
        self._bytes_left -= len(record)
        self._parent.send_frame(control.encode_frame(control.EVENT, record))

    async def append(self) -> Appended:
        """Return once all earlier records are committed."""
        epoch, seq = await asyncio.wrap_future(self._parent.request(control.Flush))
        return Appended(str(epoch), int(seq), int(seq))

    async def drain(self) -> None:
        """Return at once: `put` waits."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait in a thread without a loop for a coroutine."""
        return result_of(asyncio.run_coroutine_threadsafe(coroutine, self._make_loop()))


class _Replies:
    """Replies of the parent that the function waits for, until the run is cancelled."""

    def __init__(self) -> None:
        self._open: set[concurrent.futures.Future[Any]] = set()
        self._is_cancelled = False

    @property
    def is_waiting(self) -> bool:
        """Whether the function waits for a reply."""
        return bool(self._open)

    async def of(self, future: "concurrent.futures.Future[Any]") -> Any:
        """Return a request's reply. Raises `CancelledError` once the run is cancelled."""
        self._open.add(future)
        # The run may be cancelled, by another thread, between the request and the line above.
        if self._is_cancelled:
            future.cancel()
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._open.discard(future)

    def cancel(self) -> None:
        """Stop waiting, permanently. Call from any thread."""
        self._is_cancelled = True
        for future in list(self._open):
            future.cancel()


class _Questions:
    """The questions that the run asks: the parent stores them and receives their answers."""

    def __init__(self, parent: Parent, call: control.Call) -> None:
        self._parent = parent
        self._max_event_bytes = call.max_event_bytes
        self._answers = _Replies()

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for an answer."""
        return self._answers.is_waiting

    def end_of(self, interrupt_id: str) -> float | None:
        """Return None: the parent keeps the deadlines."""
        return None

    def cancel(self) -> None:
        """Stop waiting for answers, permanently."""
        self._answers.cancel()

    def end(self) -> None:
        """Do nothing: the parent keeps the deadlines."""

    async def ask(
        self,
        message: str,
        *,
        action: str,
        args: object,
        config: Mapping[str, Any] | None,
        timeout_s: float | None,
        interrupt_id: str,
        place: Place | None,
        keep: object = None,
    ) -> Answer:
        """Ask through the parent, and wait for the answer. Raises what `Questions.ask` raises."""
        node, agent = place[:2] if place else ("", "")
        asked = {
            **{"message": message, "action": action, "args": args, "config": config},
            **{"timeout_s": timeout_s, "interrupt_id": interrupt_id, "node": node, "agent": agent},
        }
        # Encode it as an event, so that invalid values are refused here and not in the parent.
        record = encode_record("interrupt_request", asked, 0.0, None, self._max_event_bytes)
        plain = decode_event(b"{" + record).data
        if plain["timeout_s"] != timeout_s:
            raise InvalidValue(f"expected timeout_s to be seconds or None, got {timeout_s}")
        try:
            ask = msgspec.convert({"number": 0, **plain}, control.Ask)
        except msgspec.ValidationError as error:
            raise InvalidValue(f"expected a question that can be asked: {error!s:.300}") from None
        if keep is not None:
            ask = msgspec.structs.replace(ask, keep=msgspec.Raw(as_kept(keep)))
        future = self._parent.request(lambda number: msgspec.structs.replace(ask, number=number))
        return msgspec.convert(await self._answers.of(future), Answer)

    async def keep(self, kept: bytes) -> None:
        """Have the parent keep a value. Raises what `Questions.keep` raises."""
        value = msgspec.Raw(kept)
        future = self._parent.request(lambda number: control.Keep(number, value))
        await asyncio.wrap_future(future)


class _Mailbox:
    """The messages sent into the run: the parent reads them from its log."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._messages = _Replies()

    async def next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        """Have the parent acknowledge messages, and return the next one; see `Mailbox`."""
        future = self._parent.request(lambda number: control.Receive(number, after, [*read], wait))
        message = await self._messages.of(future)
        return None if message is None else msgspec.convert(message, Message)

    def cancel(self) -> None:
        """Stop waiting for messages, permanently."""
        self._messages.cancel()
