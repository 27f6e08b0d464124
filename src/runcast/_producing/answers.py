"""The rules for questions and answers."""

import hashlib
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from runcast.errors import InvalidValue
from runcast.events.model import Place
from runcast.events.plain import MAX_DEPTH, shown
from runcast.events.vocabulary import as_number, is_deeper

__all__ = (
    "Answer",
    "AnswerType",
    "Asked",
    "Asks",
    "check_allowed",
    "check_interrupt_id",
    "check_question",
)

_MAX_ID_CHARS: Final = 128

AnswerType = Literal["accept", "reject", "edit", "response", "expired"]


class Answer(msgspec.Struct, frozen=True):
    """The answer to a question.

    `accept` means yes, `reject` means no. `edit` means yes with other `args`. `response` gives
    feedback in `args` and counts as a yes. `expired` means that nobody answered in time. `by` names
    the person who answered.
    """

    type: AnswerType
    args: Any = None
    by: str = ""

    @property
    def approved(self) -> bool:
        """Whether the action may be done."""
        return self.type in ("accept", "edit", "response")

    def document(self) -> dict[str, Any]:
        """Return the answer as a JSON object."""
        return {**msgspec.structs.asdict(self), "approved": self.approved}

    @property
    def digest(self) -> str:
        """A digest that is equal for equal answers, whatever the person."""
        try:
            said = msgspec.json.encode((self.type, self.args), order="deterministic")
        except RecursionError:
            raise InvalidValue(f"expected args nested less than {MAX_DEPTH} deep") from None
        return hashlib.sha256(said).hexdigest()[:32]

    @classmethod
    def parse(cls, given: object) -> "Answer":
        """Parse an answer: `{"type": …, "args": …}` or `{"approved": bool, "content": …}`.

        Raises:
            InvalidValue: the value has neither form.
        """
        if isinstance(given, Mapping):
            given = _from_approved(given) if "type" not in given else _checked(given)
        try:
            answer = msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise InvalidValue(
                'expected an answer like {"type": "accept"} (or reject, edit, response with '
                f"args): {error!s:.300}"
            ) from None
        if answer.type == "expired":
            raise InvalidValue("expected a type of accept, reject, edit or response")
        # Check explicitly, because the stack's depth differs between versions of Python.
        if is_deeper(answer.args, MAX_DEPTH):
            raise InvalidValue(f"expected args nested at most {MAX_DEPTH} deep")
        return answer


# A field of one form in the other would be silently ignored, so it is refused.


def _checked(given: Mapping[Any, Any]) -> Mapping[Any, Any]:
    kind = given["type"]
    if "content" in given:
        raise InvalidValue("expected args beside type, got content")
    if kind in ("edit", "response") and "args" not in given:
        raise InvalidValue(f"expected args with an answer of the type {kind!r}")
    if "approved" in given and given["approved"] is not (kind != "reject"):
        raise InvalidValue(f"expected approved to agree with the type {shown(kind)}")
    return given


def _from_approved(given: Mapping[Any, Any]) -> Mapping[Any, Any]:
    if "approved" not in given:
        return given
    if not isinstance(given["approved"], bool):
        raise InvalidValue(f"expected approved to be true or false, got {shown(given['approved'])}")
    if "args" in given:
        raise InvalidValue('expected content beside approved, or {"type": "edit", "args": …}')
    content = given.get("content")
    approved = "accept" if content is None else "response"
    kind = approved if given["approved"] else "reject"
    return {"type": kind, "args": content, "by": given.get("by", "")}


def check_allowed(config: object, answer: Answer) -> None:
    """Raise `InvalidValue` if a question's `config` does not allow an answer.

    The names in it are those of LangGraph.
    """
    if not isinstance(config, dict):
        return
    flag = {"accept": "allow_accept", "edit": "allow_edit", "response": "allow_respond"}
    name = flag.get(answer.type, "allow_ignore")
    if answer.type != "reject" and config.get(name) is False:
        raise InvalidValue(f"this question does not allow the answer {answer.type!r} ({name})")


def check_question(
    message: object, action: object, config: object, timeout_s: object, interrupt_id: object
) -> None:
    """Raise `InvalidValue` if an argument of `Writer.ask` is invalid."""
    for name, text in (("message", message), ("action", action), ("interrupt_id", interrupt_id)):
        if not isinstance(text, str):
            raise InvalidValue(f"expected {name} to be a text, got {type(text).__qualname__}")
    if config is not None and not isinstance(config, Mapping):
        raise InvalidValue(f"expected config to be a dict or None, got {config!r:.80}")
    if timeout_s is not None:
        seconds = as_number(timeout_s)
        if seconds is None or seconds < 0:
            raise InvalidValue(f"expected timeout_s to be seconds or None, got {timeout_s!r:.80}")
    if isinstance(interrupt_id, str) and interrupt_id:
        check_interrupt_id(interrupt_id)


def check_interrupt_id(interrupt_id: str) -> None:
    """Raise `InvalidValue` if a question cannot have this id."""
    # The id is a segment of a URL's path: browsers resolve dots, and proxies decode slashes.
    if (
        not 1 <= len(interrupt_id) <= _MAX_ID_CHARS
        or not interrupt_id.isprintable()
        or "/" in interrupt_id
        or interrupt_id in (".", "..")
    ):
        raise InvalidValue(
            f"expected an interrupt id of 1 to {_MAX_ID_CHARS} printable characters without '/', "
            f"got {interrupt_id[:140]!r}"
        )


if TYPE_CHECKING:

    class _Awaited(Coroutine[Any, Any, Answer]): ...

else:
    _Awaited = msgspec.Struct


class Asked(Answer, _Awaited, frozen=True):
    """What `ask` returns: in a thread the answer, in a coroutine a coroutine for it.

    It is a type for type checkers, which do not know where `ask` is called.
    """


class Asks(Protocol):
    """Asks a run's questions: see `Questions`."""

    @property
    def is_waiting(self) -> bool: ...

    def end_of(self, interrupt_id: str) -> float | None: ...

    def cancel(self) -> None: ...

    def end(self) -> None: ...

    def ask(
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
    ) -> Coroutine[Any, Any, Answer]: ...

    def keep(self, kept: bytes) -> Coroutine[Any, Any, None]: ...
