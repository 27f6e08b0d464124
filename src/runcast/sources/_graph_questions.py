"""What a graph's interrupt asks, and the value with which an answer resumes it: pure data.

| the interrupt's value | one question for | resumed with |
|---|---|---|
| `{"action_requests": […], "review_configs": […]}` | each action | `{"decisions": [decision, …]}` |
| `{"type": "tool_approval", "name", "args"}` | the action | a decision |
| `{"action_request": {"action", "args"}, "config"}` | the action | `{"type", "args"}` |
| a list of these | each | a list |
| another value | the value | the answer's `args`; True or False without any |

A decision has the type `approve`, `edit` (with `edited_action`), `reject` or `respond`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runcast._producing.answers import Answer
from runcast.events.vocabulary import as_text
from runcast.sources._graph_chunks import Asked, is_review, read_action, read_interrupts

__all__ = ("Interrupted", "read_interrupted")

_DECISIONS: Final = ("approve", "edit", "reject", "respond")


class Interrupted(NamedTuple):
    """An interrupt of a graph: its id, its value, and the questions in it."""

    interrupt_id: str
    value: Any
    questions: tuple[Asked, ...]

    def resume_value(self, answers: Sequence[Answer]) -> Any:
        """Return the value that resumes the graph, given an answer for each question."""
        value = self.value
        if is_review(value):
            pairs = zip(self.questions, answers, strict=True)
            return {"decisions": [_decision(asked, answer) for asked, answer in pairs]}
        if _is_approval(value):
            return _decision(self.questions[0], answers[0])
        if _is_list_of_requests(value):
            return [_response(answer) for answer in answers]
        if isinstance(value, Mapping) and "action_request" in value:
            return _response(answers[0])
        return _plain_value(answers[0])


def read_interrupted(interrupt_id: str, value: Any, response_schema: object = None) -> Interrupted:
    """Return the questions of an interrupt.

    Args:
        response_schema: what an answer has to look like, as JSON Schema; None if unknown.
    """
    if is_review(value):
        found = read_interrupts([{"id": interrupt_id, "value": value}])
        return Interrupted(interrupt_id, value, tuple(found))
    if _is_approval(value):
        allowed = _decisions_in(response_schema)
        reviews = [{"action_name": value["name"], "allowed_decisions": allowed}] if allowed else ()
        return Interrupted(interrupt_id, value, (read_action(interrupt_id, value, reviews),))
    if _is_list_of_requests(value):
        found = read_interrupts([{"id": interrupt_id, "value": value}])
    else:
        # In a list of its own, so that a list counts as one value.
        found = read_interrupts([{"id": interrupt_id, "value": [value]}])
    return Interrupted(interrupt_id, value, tuple(found))


def _is_approval(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "tool_approval" and "name" in value


def _is_list_of_requests(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(one, Mapping) and "action_request" in one for one in value)
    )


def _decisions_in(schema: object) -> list[str]:
    """Return the decisions that the schema of an answer allows."""
    found: list[str] = []
    pending = [schema]
    while pending:
        one = pending.pop()
        if isinstance(one, Mapping):
            kind = one.get("type")
            const = kind.get("const") if isinstance(kind, Mapping) else None
            if const in _DECISIONS:
                found.append(const)
            pending.extend(one.values())
        elif isinstance(one, list | tuple):
            pending.extend(one)
    return found


def _decision(asked: Asked, answer: Answer) -> dict[str, Any]:
    match answer.type:
        case "accept":
            return {"type": "approve"}
        case "edit":
            return {"type": "edit", "edited_action": {"name": asked.action, "args": answer.args}}
        case "response":
            return {"type": "respond", "message": as_text(answer.args)}
    reason = as_text(answer.args)
    return {"type": "reject", "message": reason} if reason else {"type": "reject"}


def _response(answer: Answer) -> dict[str, Any]:
    return {"type": answer.type, "args": answer.args}


def _plain_value(answer: Answer) -> Any:
    if answer.args is not None:
        return answer.args
    return answer.approved
