"""Questions of a graph, for code that keeps them in a handler.

They are runcast's own questions: watchers see them and may answer, also over HTTP. The first answer
in the log counts. Code that can wait for the answer should use `runcast.ask`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from runcast import Answer, Writer, current_writer, using
from runcast._hub.forks import make_lock
from runcast.compat.writer.flat_writer import StreamWriter
from runcast.errors import RuncastError, RunClosed
from runcast.events.outcome import Outcome

__all__ = ("InterruptHandler", "resume_value")


def resume_value(answer: Answer) -> dict[str, Any]:
    """Return an answer in the form for resuming a graph: `{"type", "args"}`."""
    return {"type": answer.type, "args": answer.args}


class _Pending(NamedTuple):
    asked: dict[str, Any]
    run: Writer | None


class InterruptHandler:
    """Keeps questions until they are answered, or their run ends.

    Args:
        writer: writes the questions and answers.
    """

    def __init__(self, writer: StreamWriter) -> None:
        self.writer = writer
        self._lock = make_lock()
        self._pending: dict[str, _Pending] = {}

    def handle_interrupt_request(
        self,
        interrupt_id: str,
        action: str,
        args: object,
        description: str,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask a question; it is pending from now on."""
        run = current_writer()
        asked = {
            "interrupt_id": interrupt_id,
            "action": action,
            "args": args,
            "description": description,
            "config": config,
        }
        with self._lock:
            self._pending[interrupt_id] = _Pending(asked, run)
        if run is not None:

            def close(ending: Outcome) -> Outcome:
                self.clear_interrupt(interrupt_id)  # no answer is needed any more
                return ending

            run.before_end(close)
        try:
            self.writer.interrupt_request(interrupt_id, action, args, description, config)
        except RuncastError:
            self.clear_interrupt(interrupt_id)  # the question was not asked
            raise
        self.writer.interrupt_waiting(self.writer.texts.interrupt_waiting, interrupt_id)

    def handle_user_response(self, interrupt_id: str, response: object, approved: bool) -> bool:
        """Write an answer and close the question; return False if it is not pending here.

        Of two simultaneous answers, one of them over HTTP, both may be written; the first in the
        log counts.
        """
        with self._lock:
            pending = self._pending.pop(interrupt_id, None)
        if pending is None:
            self.writer.error(f"there is no question {interrupt_id!r}", "InterruptNotFound")
            return False
        value = resume_value(_answer(response, approved))
        texts = self.writer.texts
        text = texts.interrupt_approved if approved else texts.interrupt_rejected
        try:
            with using(pending.run):  # the answering code is rarely inside the run
                self.writer.interrupt_response(value, approved, interrupt_id)
                self.writer.interrupt_resolved(
                    text.format(action=pending.asked["action"]), interrupt_id
                )
        except RunClosed:
            return False
        except RuncastError:
            with self._lock:
                # The question may be answered again
                self._pending.setdefault(interrupt_id, pending)
            raise
        return True

    def get_pending_interrupts(self) -> dict[str, dict[str, Any]]:
        """Return the questions that are pending, by id."""
        with self._lock:
            return {name: dict(pending.asked) for name, pending in self._pending.items()}

    def clear_interrupt(self, interrupt_id: str) -> None:
        """Forget a question without an event. Idempotent."""
        with self._lock:
            self._pending.pop(interrupt_id, None)


def _answer(response: object, approved: bool) -> Answer:
    if not approved:
        return Answer("reject", response)
    return Answer("accept") if response is None else Answer("response", response)
