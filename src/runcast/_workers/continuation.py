"""What a handler is called with that continues a run; see `runcast._functions.handlers`."""

from typing import Any

import msgspec

from runcast._functions.function import Function
from runcast._functions.handlers import CONTINUED_WITH, RESUMED_WITH, GivenInputs
from runcast._producing.answers import Answer
from runcast.events.snapshot import Snapshot

__all__ = ("Continuation",)


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run when another attempt of it begins.

    Attributes:
        attempt: the number of this attempt; the first has the number 1.
        kept: what the run kept; None without any.
        inputs: the kept inputs as JSON; None if the function keeps none.
        left_out: why other inputs are not kept.
        state: the state before this attempt.
        interrupt_id: the question whose answer begins this attempt, or "".
        answer: its answer.
    """

    attempt: int
    kept: Any = None
    inputs: dict[str, Any] | None = None
    left_out: dict[str, str] = {}
    state: Snapshot
    interrupt_id: str = ""
    answer: Answer | None = None

    def arguments_of(self, handler: Function[..., Any]) -> dict[str, Any]:
        """Return the arguments that a handler takes, by name.

        A parameter like `**more` gets only the question and its answer.
        """
        given: dict[str, Any] = {
            "kept": self.kept,
            "inputs": GivenInputs(self.inputs, self.left_out),
            "attempt": self.attempt,
            "state": self.state,
        }
        takes = {parameter.name for parameter in handler.parameters}
        arguments: dict[str, Any] = {name: given[name] for name in CONTINUED_WITH if name in takes}
        if self.answer is not None and (handler.takes_more or takes.issuperset(RESUMED_WITH)):
            arguments |= {"interrupt_id": self.interrupt_id, "answer": self.answer}
        return arguments
