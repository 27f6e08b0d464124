"""Questions that a graph asks, for code that keeps them in a handler.

They are runcast's own: whoever watches the run sees them and may answer, over HTTP as well. The
first answer in the log is the one that counts.
"""

import threading
from collections.abc import Mapping
from typing import Any

from runcast import Answer, OpenHub, Writer, current_writer, using
from runcast.compat.flat_writer import StreamWriter
from runcast.compat.hubs import opened
from runcast.errors import Conflict, InvalidValue, NotFound, RunClosed
from runcast.runs.protocols import Ending

__all__ = ("InterruptHandler", "resume_value")


def resume_value(answer: Answer) -> dict[str, Any]:
    """Return an answer as graphs are resumed with it: `{"type", "args"}`."""
    return {"type": answer.type, "args": answer.args}


class InterruptHandler:
    """Keeps the questions asked through it until they are answered.

    Args:
        writer: tells the questions and answers.
        hub: where the run is, for `answer`; the hub in use if None.
    """

    def __init__(self, writer: StreamWriter, hub: OpenHub | None = None) -> None:
        self.writer = writer
        self._hub = hub
        self._lock = threading.Lock()
        self._pending: dict[str, dict[str, Any]] = {}
        self._runs: dict[str, Writer | None] = {}

    def handle_interrupt_request(
        self,
        interrupt_id: str,
        action: str,
        args: object,
        description: str,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask; the question is pending from now on. Who can wait should `await ask(…)` instead."""
        self._keep(interrupt_id, action, args, description, config)
        self.writer.interrupt_request(interrupt_id, action, args, description, config)
        self.writer.interrupt_waiting(self.writer.texts.interrupt_waiting, interrupt_id)

    async def ask(
        self,
        interrupt_id: str,
        action: str,
        args: object,
        description: str,
        config: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Answer:
        """Ask and wait for the answer, from whomever it comes. Raises as `Writer.ask` does."""
        run = current_writer()
        if run is None:
            raise InvalidValue("expected ask() inside a run: outside there is nobody to answer")
        self._keep(interrupt_id, action, args, description, config)
        try:
            answer: Answer = await run.ask(
                description,
                action=action,
                args=args,
                config=config,
                timeout_s=timeout_s,
                interrupt_id=interrupt_id,
                node=self.writer.node,
                agent=self.writer.agent,
            )
        finally:
            self.clear_interrupt(interrupt_id)
        return answer

    def handle_user_response(self, interrupt_id: str, response: object, approved: bool) -> bool:
        """Tell an answer and close the question; False if it is not pending here.

        Two that answer at once may both be told; the first in the log counts. `answer` refuses
        the second.
        """
        with self._lock:
            asked = self._pending.pop(interrupt_id, None)
            run = self._runs.pop(interrupt_id, None)
        if asked is None:
            self.writer.error(f"there is no question {interrupt_id!r}", "InterruptNotFound")
            return False
        said = _answer(response, approved)
        texts = self.writer.texts
        text = texts.interrupt_approved if approved else texts.interrupt_rejected
        with using(run):  # whoever answers is seldom inside the run
            self.writer.interrupt_response(resume_value(said), approved, interrupt_id)
            self.writer.interrupt_resolved(text.format(action=asked["action"]), interrupt_id)
        return True

    async def answer(self, interrupt_id: str, response: object, approved: bool) -> bool:
        """Answer a question; False if it is not pending, or was answered otherwise before."""
        with self._lock:
            run = self._runs.get(interrupt_id)
        if run is None:
            return False
        hub = self._hub or await opened()
        try:
            await run.flush()  # the question must be in the log
            await hub.answer(run.run_id, interrupt_id, _answer(response, approved))
        except (Conflict, NotFound, RunClosed):
            return False
        finally:
            self.clear_interrupt(interrupt_id)
        return True

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """Return the questions that are pending, by id."""
        with self._lock:
            return {interrupt_id: dict(asked) for interrupt_id, asked in self._pending.items()}

    def clear_interrupt(self, interrupt_id: str) -> None:
        """Forget a question; nothing is told. Idempotent."""
        with self._lock:
            self._pending.pop(interrupt_id, None)
            self._runs.pop(interrupt_id, None)

    def _keep(
        self,
        interrupt_id: str,
        action: str,
        args: object,
        description: str,
        config: Mapping[str, Any] | None,
    ) -> None:
        asked = {"action": action, "args": args, "description": description, "config": config}
        run = current_writer()
        with self._lock:
            self._pending[interrupt_id] = {"interrupt_id": interrupt_id, **asked}
            self._runs[interrupt_id] = run
        if run is not None:

            def close(ending: Ending) -> Ending:
                self.clear_interrupt(interrupt_id)  # nobody waits for its answer any more
                return ending

            run.before_end(close)


def _answer(response: object, approved: bool) -> Answer:
    if not approved:
        return Answer("reject", response)
    return Answer("accept") if response is None else Answer("response", response)
