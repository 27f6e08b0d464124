"""A run around a block of code: begun when the block is entered, ended when it is left."""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from runcast._hub.bridge import Bridge
from runcast._hub.hub import Hub
from runcast._hub.interrupts import INTERRUPTED, was_interrupted
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast._producing.budgets import Meter
from runcast._producing.calls import Waited
from runcast._producing.context import enter, leave
from runcast._producing.inbox import HubMailbox
from runcast._producing.keeping import Keeper
from runcast._producing.labels import check_labels
from runcast._producing.questions import Questions
from runcast._producing.writer import Writer
from runcast._runs.run import Displayed, make_run_id
from runcast._workers.drive import outcome_of
from runcast.errors import (
    Cancelled,
    InvalidValue,
    NotFound,
    RuncastError,
    RunClosed,
    Stale,
    StoreUnavailable,
)
from runcast.events.model import OWN_EVENT_BYTES, as_stored, encode_record
from runcast.events.outcome import Outcome, cancelled, checked_reason, done, failed_with
from runcast.events.position import is_run_id

if TYPE_CHECKING:
    from contextvars import Token

__all__ = ("BeginRun", "Block", "BlockInThread", "OwnedRun", "outcome_of_block")

_log: Final = get_logger("runcast.runs")


class OwnedRun(Writer):
    """A run owned by a block of code: the run's writer, which is the current writer in the block.

    `runcast.run` and `hub.run` return it. Leaving the block ends the run: `done`; `failed` by an
    exception; `cancelled` by `KeyboardInterrupt`, `Cancelled` and the cancelling of a task.
    """

    def __init__(
        self,
        hub: Hub,
        log: OwnedLog,
        name: str,
        workspace: Callable[[], Path] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        questions = Questions(hub, log.inlet, hub.clock, keeper)
        # By default the block's working directory is that of its process.
        folder = workspace or Path.cwd
        most = hub.settings.max_event_bytes
        meter, mailbox = Meter(hub.prices), HubMailbox(hub, log.inlet, hub.clock)
        super().__init__(log.inlet, hub.clock, most, questions, folder, meter, mailbox)
        self.begin_delivery = hub.begin_delivery
        self.name = name
        """The run's name; lists show it as the run's function."""
        self.display: Displayed | None = None
        """How a notebook shows the run."""
        self._hub = hub
        self._owned = log
        self._result: object = None
        self._reason: str | None = None
        self._task: asyncio.Task[Any] | None = None
        self._may_keep = keeper is not None

    def __repr__(self) -> str:
        return f"<OwnedRun {self.run_id} of {self.name}>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        shown = {} if self.display is None else self.display._repr_mimebundle_(include, exclude)
        return {**shown, "text/plain": repr(self)}

    @property
    def epoch(self) -> str:
        """The epoch of the run's log."""
        return self._owned.epoch

    def set_result(self, value: object) -> None:
        """Set the run's result: the `result` of its `done` event, written when the block is left.

        The value is copied at the call; the last call counts.

        Raises:
            InvalidValue: JSON cannot hold the value.
            EventTooLarge: the event is longer than `max_event_bytes`.
        """
        data = {"result": value}
        self._result = as_stored("done", data, max_bytes=self.max_event_bytes).data["result"]

    def keep(self, value: object) -> Waited[None]:
        """Keep a value for the next attempt; see `Writer.keep`.

        Raises:
            InvalidValue: nothing continues a run of `runcast.run` or `hub.run`, so it has no next
                attempt.
        """
        if not self._may_keep:
            raise InvalidValue(
                "a run of runcast.run(…) has no next attempt, so nobody would read what keep() "
                "keeps; attach to the run with max_attempts= (runcast.attach), or make the block a "
                "function with recover="
            )
        return super().keep(value)

    @classmethod
    async def _begin(
        cls, hub: Hub, name: str, run_id: str, labels: Mapping[str, str] | None, *, replace: bool
    ) -> Self:
        """Begin a run and return it; the run is stored, and has started, when this returns.

        Raises `InvalidValue`, `Conflict`, `BackendError`.
        """
        if not is_run_id(name):
            raise InvalidValue(f"expected a name like 'import' for the run, got {name!r:.140}")
        check_labels(labels or {})
        log = await hub.begin(
            run_id or make_run_id(hub.clock.time(), os.urandom(10)),
            labels={**(labels or {}), "function": name},
            ttl_s=hub.settings.keep_runs_s or None,
            replace=replace,
        )
        try:
            run = cls(hub, log, name)
            run._take_over(log)
            started = encode_record(
                "started", {"function": name}, hub.clock.time(), None, OWN_EVENT_BYTES
            )
            await log.inlet.append([started])
        except BaseException:
            log.on_cancel = None
            hub.owned.do(log.cancel("its beginning was cancelled"))
            raise
        return run

    def _take_over(self, log: OwnedLog) -> None:
        """Obey what is commanded of the log, from now on."""
        log.on_cancel = self._obey
        log.end_of_question = self.end_of_question

    def _cancel_with(self, task: "asyncio.Task[Any] | None") -> None:
        """Cancel a task when the run is cancelled."""
        self._task = task

    def _obey(self, reason: str) -> None:
        if self._reason is not None:
            return  # asked before; its clean-up is running
        self._reason = checked_reason(reason)
        self.request_cancel(self._reason)
        if self._task is not None:
            self._task.cancel()

    async def _finish(self, error: BaseException | None) -> None:
        """End the run according to how its block was left.

        Raises:
            StoreUnavailable: the end cannot be stored; raised only if the block raised nothing.
        """
        self._task = None
        outcome = outcome_of_block(error, self._reason, self._result)
        last_words: list[bytes] = []
        outcome = self.conclude(outcome, last_words.append)
        wait_s = self._hub.settings.emit_wait_s
        try:
            async with asyncio.timeout(wait_s):
                if last_words:
                    with suppress(RunClosed, Stale, NotFound):  # `end` raises it again
                        await self._owned.inlet.append(last_words)
                await self._end(outcome)
        except (RunClosed, Stale, NotFound) as ended:
            _log.warning("run %s has another end than %s: %s", self.run_id, outcome.type, ended)
        except (RuncastError, TimeoutError) as failure:
            if error is None:
                raise StoreUnavailable(
                    f"the end of run {self.run_id!r} could not be stored within {wait_s:g} s "
                    f"(emit_wait_s): {str(failure) or 'the store does not answer'}"
                ) from failure
            _log.error("the end of run %s could not be stored: %s", self.run_id, failure)

    async def _end(self, outcome: Outcome) -> None:
        """End the log. Raises what `OwnedLog.end` raises."""
        await self._owned.end(outcome)


def outcome_of_block(
    error: BaseException | None, reason: str | None, result: object, name: str = "block"
) -> Outcome:
    """Return the outcome of a run according to how its block of code was left.

    Args:
        error: what the block raised; None if it was left normally.
        reason: why the run was cancelled; None if it was not.
        result: what the block has set as its result.
    """
    if error is None:
        is_over = reason is None or result is not None
        return done(result) if is_over else cancelled(reason or "")
    if was_interrupted(error):
        return cancelled(reason or INTERRUPTED)
    if isinstance(error, GeneratorExit):
        return cancelled("the generator around the run was closed")
    if isinstance(error, asyncio.CancelledError):
        return cancelled(reason or "the task was cancelled")
    if isinstance(error, Cancelled):
        return cancelled(str(error))
    outcome = outcome_of(error)
    if outcome.type == "failed":
        return failed_with(error, name)
    return done(result)  # sys.exit(0)


BeginRun = Callable[[], Coroutine[Any, Any, OwnedRun]]
"""Begins the run of a block, or attaches to one."""


class Block:
    """A block of code on an event loop, and the run around it."""

    def __init__(self, begin: BeginRun) -> None:
        self._begin = begin
        self._run: OwnedRun | None = None
        self._token: Token[Writer | None] | None = None

    async def __aenter__(self) -> OwnedRun:
        if self._run is not None:
            raise _entered_before()
        self._run = run = await self._begin()
        run._cancel_with(asyncio.current_task())
        self._token = enter(run)
        return run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None and self._run.home.is_here:
            leave(self._token)
            await self._run._finish(error)


class BlockInThread:
    """A block of code in a thread, and the run around it, on a loop behind a bridge."""

    def __init__(self, bridge: Bridge, begin: BeginRun) -> None:
        self._bridge = bridge
        self._begin = begin
        self._run: OwnedRun | None = None
        self._token: Token[Writer | None] | None = None

    def __enter__(self) -> OwnedRun:
        if self._run is not None:
            raise _entered_before()
        self._run = self._bridge.call(self._begin())
        self._token = enter(self._run)
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is None or not self._run.home.is_here:
            return
        leave(self._token)
        if self._bridge.is_open:  # otherwise the hub was closed meanwhile, which ended the run
            self._bridge.call(self._run._finish(error))


def _entered_before() -> InvalidValue:
    """Return the error for a second use of a block."""
    return InvalidValue("expected run(…) to be entered once; call it for each run")
