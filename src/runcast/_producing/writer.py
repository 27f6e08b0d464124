"""The writer: appends events to a run.

Long because it holds all that the code of a run may call, with what each call promises.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, Unpack, cast

from runcast._clock import Clock
from runcast._hub.forks import Home
from runcast._hub.interrupts import result_of
from runcast._logs import get_logger
from runcast._producing.answers import Asked, Asks, check_question
from runcast._producing.budgets import Meter
from runcast._producing.calls import (
    NOTHING,
    Flushed,
    PlaceFields,
    Waited,
    in_turn,
    not_a_place,
    place_of,
)
from runcast._producing.cancelling import Cancelling
from runcast._producing.inbox import Inbox, Mailbox
from runcast._producing.keeping import as_kept
from runcast._producing.typed_events import TypedEvents
from runcast.errors import Cancelled, InvalidValue, RuncastError, StoreUnavailable
from runcast.events.model import Event, Place, checked_type, encode_known
from runcast.events.outcome import Outcome
from runcast.events.position import Position
from runcast.events.vocabulary import KNOWN, TERMINAL
from runcast.stores.base import Appended

__all__ = ("RESERVED", "TakesRecords", "Writer")

_log: Final = get_logger("runcast.runs")

RESERVED: Final = TERMINAL | {"started", "gap"}
"""Types that only runcast writes, because a forged ending or gap would mislead every watcher."""

_FREE: Final = frozenset(KNOWN) - RESERVED - {"usage"}
"""Types that need no further check."""


T = TypeVar("T")


class TakesRecords(Protocol):
    """The target of a writer's records: a hub's `Inlet`, or the socket of a child process."""

    @property
    def run_id(self) -> str: ...

    def put(self, record: bytes) -> None: ...

    async def append(self) -> Appended: ...

    async def drain(self) -> None: ...

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


class Writer(TypedEvents):
    """Appends events to one run. Its methods may be called from any thread and any coroutine.

    Make a writer on the loop on which its questions will wait, or say with `make_loop` where they
    will.

    Guarantees: an event comes after all earlier events of the same thread or task. `emit` returns
    in microseconds, except in a thread while the bound on pending events is reached.

    Every method raises what `emit` raises.
    """

    _reserved: frozenset[str] = RESERVED
    """Types that this writer may not emit."""
    _free_types: frozenset[str] = _FREE
    """Types that need no further check while the run is not cancelled."""

    def __init__(
        self,
        inlet: TakesRecords,
        clock: Clock,
        max_event_bytes: int,
        questions: Asks | None = None,
        workspace: Callable[[], Path] | None = None,
        meter: Meter | None = None,
        mailbox: Mailbox | None = None,
        make_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        super().__init__()
        self._inlet = inlet
        self._put: Callable[[bytes], None] = inlet.put
        self._questions = questions
        self._workspace = workspace
        self.mailbox = mailbox
        """Where the run's messages come from; None if this writer does not run the function."""
        self._inbox = Inbox(mailbox, self._on_loop) if mailbox is not None else None
        self.meter = meter or Meter()
        """Counts what the run uses of models."""
        self.on_over_budget: Callable[[], None] = lambda: None
        """Called once the run has used more than it may; in any thread."""
        self._make_loop = make_loop
        is_on_loop = questions is not None and make_loop is None
        self._loop = asyncio.get_running_loop() if is_on_loop else None
        self.clock = clock
        """The run's clock."""
        self._time = clock.time
        self.max_event_bytes = max_event_bytes
        """Largest event, as JSON."""
        self._cancel: str | None = None
        self._cancelling = Cancelling()
        self._free = self._free_types
        """Types that are emitted without a further check; empty once the run is cancelled."""
        # Per thread: whether it was notified. Thread ids are no key, because they are reused.
        self._notified = threading.local()
        self._notified.is_notified = make_loop is None  # asyncio cancels tasks on the loop
        self.has_raised_cancelled = False
        """Whether a thread of the run was notified that the run was cancelled."""
        self.home = Home()
        """The process that the writer belongs to."""
        self.begin_delivery: Callable[..., Coroutine[Any, Any, Any]] | None = None
        """Delivers the run; None if this writer does not run the function."""
        self._last_words: list[Callable[[Outcome], Outcome]] = []

    @property
    def run_id(self) -> str:
        """The run written to."""
        return self._inlet.run_id

    def emit(
        self,
        type: str,  # noqa: A002 - the field's name
        data: object = None,
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append an event: `emit("progress", {"current": 1}, node="reader")`.

        Args:
            type: one of `events.vocabulary.KNOWN`, or your own: `[a-z][a-z0-9_.-]*`.
            data: any value that JSON can hold; dataclasses, datetimes, Paths and pydantic models
                too.
            place: `node`, `agent`, `path` and `duration`: see `PlaceFields`.

        Raises:
            InvalidValue: the type is malformed or reserved; or `data` cannot be encoded; or there
                is another keyword (an event's own fields go into `data`); or this process was
                forked from the run's.
            EventTooLarge: the event is longer than `max_event_bytes`.
            RunClosed: the run has ended.
            Overloaded: too many bytes wait for their commit; `await drain()` and try again.
            RunTooLarge: the run has reached `max_events_per_run` or `max_bytes_per_run`.
            StoreUnavailable: the store fails at present.
            Cancelled: the run was cancelled; raised once in each of its threads.
        """
        # Keywords as one dict, so that unknown ones are noticed without slowing the usual call.
        where = None
        if place:
            try:
                where = place_of(**place)
            except TypeError:
                raise not_a_place(type, place) from None
        self.emit_at(where, type, data)

    def emit_at(self, place: Place | None, kind: str, data: object) -> None:
        """Append an event with a place: `emit` without keywords."""
        if type(kind) is str and kind in self._free:
            self._put(encode_known(kind, data, self._time(), place, self.max_event_bytes))
            return
        kind = self._admitted(kind)
        if kind == "usage":
            data = self.meter.price(data)
        self._put(encode_known(kind, data, self._time(), place, self.max_event_bytes))
        if kind == "usage":
            self.count_usage(data)

    def count_usage(self, data: object) -> None:
        """Count what a `usage` event tells. Raises `Cancelled` in a thread if that is too much."""
        if self.meter.count(data, self.run_id) and self._cancel is None:
            assert self.meter.over is not None
            # The loop stops the rest: `on_over_budget` notifies it.
            self._cancel, self._free = str(self.meter.over.data["message"]), frozenset()
            self.on_over_budget()
            self.check_cancelled()

    def _admitted(self, kind: object) -> str:
        """Return an event's type if it may be emitted now. Raises what `emit` raises."""
        plain = checked_type(kind)
        if plain in self._reserved:
            raise InvalidValue(
                f"{plain!r} is written by runcast itself; return from the function to end its run, "
                "raise to fail, and use 'error' for errors that it survives"
            )
        self.check_cancelled()
        return plain

    def emit_event(self, event: Event) -> None:
        """Append an `Event`; it gets a new `seq` and `time`."""
        self.emit(
            event.type,
            event.data,
            node=event.node,
            agent=event.agent,
            path=event.path,
            duration=event.duration,
        )

    def ask(
        self,
        message: str,
        *,
        action: str = "",
        args: object = None,
        config: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        interrupt_id: str = "",
        node: str = "",
        agent: str = "",
        keep: object = None,
    ) -> Asked:
        """Ask a question and wait for its answer: `await` it in a coroutine; a thread waits in it.

        Args:
            message: the question's text.
            action: the action that a yes approves.
            args: the action's arguments.
            config: the allowed answers: `allow_accept`, `allow_edit`, `allow_respond` (all true by
                default), and `response_schema`.
            timeout_s: after this time the answer has the type `expired`; None waits for ever.
            interrupt_id: generated if missing. Asking again under an id returns its answer at once,
                or waits for it, at most until the first deadline.
            keep: a value for the handler that continues the run if its process ends meanwhile
                (`resume=`, `recover=`): JSON, at most MAX_KEPT_BYTES of all open questions
                together. It is stored beside the log together with the question; no watcher sees
                it. None keeps nothing.

        Returns:
            An `Answer`; in a coroutine an awaitable for it.

        Raises:
            InvalidValue: this writer does not run the function, so it cannot wait; or the question
                is malformed; or JSON cannot hold what is to be kept.
            EventTooLarge: the question, or what is to be kept, is too long.
            Gone: the question was answered so long ago that the answer is no longer kept
                (`keep_bytes_per_run`).
            Cancelled: the run was cancelled while it waited (in threads).
        """
        if self._questions is None:
            raise InvalidValue("only the run itself can ask: call ask() inside its function")
        self.home.check("ask()")
        check_question(message, action, config, timeout_s, interrupt_id)
        asking = self._questions.ask(
            message,
            action=action,
            args=args,
            config=config,
            timeout_s=timeout_s,
            interrupt_id=interrupt_id,
            place=(node, agent, (), None) if node or agent else None,
            keep=keep,
        )
        return cast("Asked", self._on_loop(asking, "an answer"))

    def keep(self, value: object) -> Waited[None]:
        """Keep a value for the next attempt, instead of the one that was kept before; `await` it in
        a coroutine.

        The handler that continues the run gets it as `kept` (`resume=`, `recover=`). It is stored
        beside the log, after everything emitted before; no watcher sees it.

        Args:
            value: JSON, with what open questions keep at most MAX_KEPT_BYTES.

        Raises:
            InvalidValue: this writer does not run the function; or JSON cannot hold the value.
            EventTooLarge: the value is too long.
        """
        if self._questions is None:
            raise InvalidValue("only the run itself can keep values: call keep() in its function")
        self.home.check("keep()")
        kept = as_kept(value)
        return self._on_loop(self._questions.keep(kept), "what it keeps") or NOTHING

    def inbox(self) -> Inbox:
        """Return the messages that are sent into the run, one after the other; see `Inbox`.

        Raises:
            InvalidValue: this writer does not run the function.
        """
        if self._inbox is None:
            raise InvalidValue("only the run itself reads its messages: call inbox() inside it")
        self.home.check("inbox()")
        return self._inbox

    def _on_loop(self, waiting: Coroutine[Any, Any, Any], what: str) -> Any:
        """Return what a coroutine awaits for a result that comes on the loop; a thread waits.

        Raises `Cancelled` in a thread if the run ends before.
        """
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        try:
            if self._loop is None:
                assert self._make_loop is not None
                self._loop = self._make_loop()
            if here is self._loop:
                return waiting
            future = asyncio.run_coroutine_threadsafe(waiting, self._loop)
        except RuntimeError:
            waiting.close()
            raise StoreUnavailable("the hub's event loop is closed") from None
        except Exception:
            waiting.close()  # it was not begun, and nobody awaits it
            raise
        if here is not None:
            return asyncio.wrap_future(future)
        try:
            return result_of(future)
        except concurrent.futures.CancelledError:
            self.check_cancelled()
            raise Cancelled(f"the run ended while it waited for {what}") from None

    def deliver(self, target: object, **options: Any) -> Any:
        """Deliver the run to a chat; see `runcast.deliver`.

        Raises:
            InvalidValue: this writer does not run the function, or runs it in another process than
                the hub's.
        """
        if self.begin_delivery is None:
            raise InvalidValue(
                "only a run in the hub's own process delivers itself: name the targets where it is "
                'invoked, with "deliver"'
            )
        self.home.check("deliver()")
        begun = self.begin_delivery(self.run_id, target, **options)
        return self._on_loop(begun, "its delivery")

    def workspace(self) -> Path:
        """Return the run's working directory; the first call creates it.

        Input files are in its `data/inputs`. Files in its `data/outputs` are kept and announced
        when the run ends.

        Raises:
            InvalidValue: this writer does not run the function, so it has no workspace.
            BackendError: the directory cannot be created.
        """
        if self._workspace is None:
            raise InvalidValue("only the run itself has a workspace: ask for it in its function")
        return self._workspace()

    def flush(self) -> Flushed[Position]:
        """Wait until everything emitted before is committed; `await` it in a coroutine.

        Returns:
            The position of the last event; in a coroutine an awaitable for it.

        Raises:
            StoreUnavailable: the store fails at present; nothing is lost, and it will be tried
                again. Or the hub was closed before the store had recovered.
            BackendError: events may be lost; nothing can be emitted any more.
        """
        self.home.check("flush()")
        return cast("Flushed[Position]", in_turn(self._flush(), self._inlet.wait_for))

    async def _flush(self) -> Position:
        appended = await self._inlet.append()
        return Flushed(appended.epoch, appended.last)

    def before_end(self, hook: Callable[[Outcome], Outcome]) -> None:
        """Call a hook after the function has returned, before the terminal event is written.

        The hook gets the run's outcome, and returns it or another one. It may emit, and must not
        wait. Hooks are called on the loop, the latest first.
        """
        self._last_words.append(hook)

    def conclude(self, ending: Outcome, put: Callable[[bytes], None] | None = None) -> Outcome:
        """Call the hooks, on behalf of the run itself. A hook that raises is logged and skipped.

        Args:
            put: takes the records that hooks emit; they need no room.
        """
        # The cancellation was obeyed; hooks must not meet it
        self._cancel, self._free = None, self._free_types
        self._put = put or self._put
        read = self._inbox.take_read() if self._inbox is not None else ()
        if read and ending.type != "cancelled":
            with suppress(RuncastError):  # the log is closed, which ends its inbox as well
                self.emit("message_read", {"message_ids": [*read]})
        while self._last_words:
            hook = self._last_words.pop()
            try:
                ending = _checked_ending(hook(ending))
            except BaseException:  # noqa: BLE001 - a user's code; the run must still end
                _log.exception("run %s: %r failed before the end", self.run_id, hook)
        self._put = self._inlet.put
        if self._questions is not None:
            self._questions.end()
        return ending

    def drain(self) -> Waited[None]:
        """Wait until there is room for more events; `await` it in a coroutine. Threads wait here,
        and also in `emit`."""
        self.home.check("drain()")
        return cast("Waited[None]", in_turn(self._inlet.drain(), self._inlet.wait_for) or NOTHING)

    @property
    def can_ask(self) -> bool:
        """Whether `ask` can be called: whether this writer runs the function."""
        return self._questions is not None

    def is_on_loop(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether answers and messages come on a loop, which therefore cannot block."""
        return loop is self._loop

    @property
    def is_cancelled(self) -> bool:
        """Whether the run was cancelled, and has not ended yet."""
        return self._cancel is not None

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for an answer."""
        return self._questions is not None and self._questions.is_waiting

    def end_of_question(self, interrupt_id: str) -> float | None:
        """Return when a question expires, by the monotonic clock; None if unknown."""
        return self._questions.end_of(interrupt_id) if self._questions is not None else None

    def request_cancel(self, reason: str) -> None:
        """Make the next emit in each thread raise `Cancelled`, and stop waiting for answers."""
        self._cancel, self._free = reason, frozenset()
        if self._questions is not None:
            self._questions.cancel()
        if self.mailbox is not None:
            self.mailbox.cancel()
        self._cancelling.run(self.run_id)

    def when_cancelled(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call a function when the run is cancelled, to interrupt what a thread waits for.

        It is called at most once, in any thread, and must not wait. It is not called for a run that
        was cancelled before. Returns a function that takes it back.
        """
        return self._cancelling.add(call)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the run was cancelled and this thread was not yet notified."""
        reason = self._cancel
        if reason is not None and self.note_cancelled():
            raise Cancelled(reason)

    def note_cancelled(self) -> bool:
        """Mark this thread as notified of the cancellation; False if it was already.

        For a signal handler: in each thread only one of the handler and `emit` may raise.
        """
        if getattr(self._notified, "is_notified", False):
            return False
        self._notified.is_notified = self.has_raised_cancelled = True
        return True


def _checked_ending(returned: object) -> Outcome:
    if (
        isinstance(returned, Outcome)
        and isinstance(returned.type, str)
        and returned.type in TERMINAL
        and isinstance(returned.data, dict)
    ):
        return returned
    raise InvalidValue(f"expected an Outcome: done, failed or cancelled; got {returned!r:.80}")
