"""One call in a child process: the child's messages go into the run's log, until it has ended."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from runcast._clock import Clock
from runcast._functions.secrets import Redactor
from runcast._hub.inlets import Inlet
from runcast._logs import get_logger
from runcast._producing.keeping import MAX_KEPT_BYTES
from runcast._producing.writer import RESERVED, Writer
from runcast._settings import Settings
from runcast._workers.processes import control
from runcast._workers.processes.output import Output
from runcast._workers.processes.process import REAP_S, ChildProcess
from runcast.errors import (
    EventTooLarge,
    Overloaded,
    PeerError,
    ProcessTraceback,
    RuncastError,
    RunTooLarge,
    StoreUnavailable,
)
from runcast.events.model import OWN_EVENT_BYTES, Event, decode_event, encode_record
from runcast.events.outcome import Outcome, failed
from runcast.events.plain import escape_line_ends
from runcast.events.vocabulary import TERMINAL, mend

__all__ = ("ProcessCall",)

_log: Final = get_logger("runcast.runs")

_PAUSE_S: Final = 0.05
"""Pause between two reads of a flood of output; meanwhile the pipe is full and the child waits."""

_EXIT_S: Final = 1.0
"""How long a child may take to end after it closed its end of the socket."""


class ProcessCall:
    """A call and its child process. The child's messages wait for their commit: while the store is
    slow the socket fills, and `emit` in the child waits.

    Args:
        redactor: for everything in the run's log.
        log_redactor: for tracebacks, whose messages may also repeat inputs.
        on_stream: called once the function is known to stream.
    """

    def __init__(
        self,
        child: ChildProcess,
        inlet: Inlet,
        writer: Writer,
        clock: Clock,
        settings: Settings,
        redactor: Redactor,
        log_redactor: Redactor,
        on_stream: Callable[[], None],
    ) -> None:
        self._child = child
        self._inlet = inlet
        self._writer = writer
        self._clock = clock
        self._settings = settings
        self._redactor = redactor
        self._log_redactor = log_redactor
        self._on_stream = on_stream
        self.raised: ProcessTraceback | None = None
        """The traceback of the function, or of its module's import; None without an error."""
        self._is_loaded = child.is_loaded
        self._returned: Outcome | None = None
        self._until: float | None = None
        """After its function has returned: when the child must have ended, by the loop's time."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, call: control.Call) -> Outcome:
        """Make the call and return its outcome. Nothing of the child is left then."""
        child = self._child
        captures = [
            asyncio.create_task(self._capture("stdout", "info")),
            asyncio.create_task(self._capture("stderr", "warning")),
        ]
        try:
            self._begin(child.send(call))
            ending = await self._hear()
            if ending is None:
                # The child is gone without a message, or has closed files that are not its own.
                await asyncio.wait({child.exited}, timeout=_EXIT_S)
            await child.end()
            if ending is None:
                await asyncio.wait({child.exit_code}, timeout=REAP_S)
            await asyncio.gather(*captures)
        except PeerError as error:
            _log.error("run %s: %s", self._inlet.run_id, error.message)
            ending = failed("its process sent what no child process sends", "crashed")
        finally:
            for task in (*self._tasks, *captures):
                task.cancel()
            await child.end()
            # Wait until nothing reads from its files any more.
            await asyncio.gather(*self._tasks, *captures, return_exceptions=True)
            child.close()
        return ending or self._death()

    async def stop(self, reason: str) -> None:
        """End the child: ask, then send SIGTERM, then SIGKILL."""
        child = self._child
        self._begin(child.send(control.Cancel(reason)))
        for grace_s, number in (
            (self._settings.cancel_grace_s, signal.SIGTERM),
            (self._settings.terminate_grace_s, signal.SIGKILL),
        ):
            await asyncio.wait({child.exited}, timeout=grace_s)
            child.signal(number)

    def hurry(self) -> None:
        """Interrupt the function wherever it is, after `stop` has asked it to end."""
        if self._is_loaded:
            self._begin(self._child.send(control.Interrupt()))
        else:  # its module is imported, and nothing of the function has begun
            self._child.signal(signal.SIGTERM)

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hear(self) -> Outcome | None:
        """Write the child's messages until it has ended; return the function's outcome, or None if
        the function never returned."""
        most = self._settings.max_event_bytes + 2 * OWN_EVENT_BYTES + MAX_KEPT_BYTES
        frames = control.Frames(most)
        while data := await self._receive():
            for kind, body in frames.feed(data):
                if kind == control.EVENT:
                    await self._take_event(body)
                elif kind == control.END:
                    if self._returned is None:
                        raise PeerError("expected no end of a child process before its function's")
                    return self._returned
                else:
                    await self._obey(kind, body)
            await asyncio.sleep(0)  # let other tasks run, even if messages never end
        return self._returned

    async def _receive(self) -> bytes:
        """Return data from the child; b"" once it has ended, or its time after its function is
        over."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._child.receive()
        except TimeoutError:
            _log.warning(
                "run %s: its process did not end %g s after its function (exit_wait_s), and is "
                "killed",
                self._inlet.run_id,
                self._settings.exit_wait_s,
            )
            return b""

    async def _put(self, record: bytes) -> None:
        """Pass a record on to be committed; returns once there is room."""
        if self._inlet.is_held:
            await self._inlet.drain()
        try:
            self._inlet.put(record)
        except (Overloaded, StoreUnavailable, RunTooLarge):
            # Wait for the commit. The child was notified that its event is accepted, and the child
            # counts how much it may emit.
            await self._inlet.append([record])

    async def _obey(self, kind: int, body: bytes) -> None:
        if kind == control.LOADED:
            loaded = control.decode(body, control.Loaded)
            self._is_loaded = True
            if loaded.trace:
                self._log_trace("cannot be imported", loaded.trace)
        elif kind == control.STREAM:
            self._on_stream()
        elif kind == control.TRACE:
            self._log_trace("raised", control.decode(body, control.Trace).text)
        elif kind == control.RETURNED:
            if self._returned is None:
                self._returned = self._ending(body)
                self._until = asyncio.get_running_loop().time() + self._settings.exit_wait_s
        elif kind == control.FLUSH:
            number = control.decode(body, control.Flush).number
            appended = await self._inlet.append()
            self._begin(self._child.send(control.Reply(number, [appended.epoch, appended.last])))
        elif kind == control.ASK:
            self._begin(self._ask(control.decode(body, control.Ask)))
            await asyncio.sleep(0)  # so that it has begun before the next message
        elif kind == control.KEEP:
            self._begin(self._keep(control.decode(body, control.Keep)))
            await asyncio.sleep(0)  # so that it is kept before the next message is handled
        elif kind == control.RECEIVE:
            self._begin(self._receive_message(control.decode(body, control.Receive)))
        else:
            raise PeerError(f"expected a frame of a known kind, got {kind}")

    async def _ask(self, ask: control.Ask) -> None:
        fields = msgspec.structs.asdict(ask)
        number = fields.pop("number")
        try:
            answer = await self._writer.ask(**self._redactor.hide(fields))
            reply = control.Reply(number, msgspec.to_builtins(answer))
        except RuncastError as error:
            reply = control.Reply(number, code=error.code, message=error.public)
        await self._child.send(reply)

    async def _keep(self, keep: control.Keep) -> None:
        try:
            await self._writer.keep(self._redactor.hide(keep.value))
            reply = control.Reply(keep.number)
        except RuncastError as error:
            reply = control.Reply(keep.number, code=error.code, message=error.public)
        await self._child.send(reply)

    async def _receive_message(self, receive: control.Receive) -> None:
        mailbox, number = self._writer.mailbox, receive.number
        assert mailbox is not None
        try:
            message = await mailbox.next(receive.after, receive.read, wait=receive.wait)
            reply = control.Reply(number, msgspec.to_builtins(message))
        except RuncastError as error:
            reply = control.Reply(number, code=error.code, message=error.public)
        await self._child.send(reply)

    async def _take_event(self, body: bytes) -> None:
        """Write what the function emitted, and count what models used."""
        event = self._event(body)
        await self._put(self._record(event))
        if event.type == "usage":
            self._writer.count_usage(event.data)

    def _event(self, body: bytes) -> Event:
        """Return an event that the function emitted, without secrets."""
        body = escape_line_ends(body)  # as secrets are looked for
        event = decode_event(b"{" + body)
        if event.type in RESERVED:
            raise PeerError(
                f"expected no event of the type {event.type!r:.80} from a child process"
            )
        if self._redactor.is_in(body):
            event = self._hide(event)
        if event.type == "usage":
            event = msgspec.structs.replace(event, data=self._writer.meter.price(event.data))
        return event

    def _record(self, event: Event) -> bytes:
        """Return an event's record, encoded again: the function could have written anything."""
        place = None
        if event.node or event.agent or event.path or event.duration is not None:
            place = (event.node, event.agent, event.path, event.duration)
        most = self._settings.max_event_bytes
        try:
            return encode_record(event.type, event.data, self._clock.time(), place, most)
        except RuncastError as error:
            raise PeerError(error.message) from None

    def _hide(self, event: Event) -> Event:
        """Return an event with all secrets hidden."""
        shown = self._redactor.hide(
            {"data": event.data, "node": event.node, "agent": event.agent, "path": [*event.path]}
        )
        kind = "hidden" if self._redactor.is_in(event.type.encode()) else event.type
        shown["path"] = tuple(shown["path"])
        return msgspec.structs.replace(event, type=kind, **shown)

    def _ending(self, body: bytes) -> Outcome:
        event: Event = decode_event(b"{" + body)
        if event.type not in TERMINAL or not isinstance(event.data, dict):
            raise PeerError(f"expected an ending, got {event.type!r:.80}")
        return Outcome(event.type, self._redactor.hide(event.data))

    def _death(self) -> Outcome:
        """Return the outcome for a child that reported none."""
        known = self._child.exit_code
        code = known.result() if known.done() else 0
        if code < 0:
            how = f"was killed by {_name(-code)}"
        else:
            how = f"ended with exit code {code} before the function did"
        if not self._is_loaded:
            return failed(f"its process {how} while it was imported", "import_failed")
        return failed(f"its process {how}", "killed" if code < 0 else "crashed")

    async def _capture(self, name: Literal["stdout", "stderr"], level: str) -> None:
        """Write the child's output as `log` events."""
        output = Output(self._clock, self._settings, self._redactor)
        while data := await self._child.read(name):
            for text in output.feed(data):
                await self._put(self._line(text, level, name))
            await asyncio.sleep(0)
            if output.is_flooded and not self._child.exited.done():
                await asyncio.wait({self._child.exited}, timeout=_PAUSE_S)
        for text in output.end():
            await self._put(self._line(text, level, name))

    def _line(self, text: str, level: str, logger: str) -> bytes:
        shown = mend(self._redactor.hide(text))
        most = self._settings.max_event_bytes
        while True:
            data = {"level": level, "message": shown, "logger": logger}
            try:
                return encode_record("log", data, self._clock.time(), None, most)
            except EventTooLarge:
                shown = f"{shown[: len(shown) // 2]}…"

    def _log_trace(self, what: str, trace: str) -> None:
        shown = self._log_redactor.hide(self._redactor.hide(trace))
        self.raised = ProcessTraceback(shown.rstrip("\n"))
        _log.error("the function of run %s %s:\n%s", self._inlet.run_id, what, shown)


def _name(number: int) -> str:
    """Return a signal's name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
