"""Questions and messages at a prompt: what a typed line means. Without any I/O.

`runcast answer` asks one question this way. `runcast watch` also takes messages to the run, and any
number of questions, as they come.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from runcast._cli.texts import plain
from runcast.errors import InvalidValue
from runcast.events.asking import choices_of

__all__ = (
    "Answered",
    "Dialog",
    "Editing",
    "Meaning",
    "Said",
    "Typed",
    "described",
    "parse_json",
    "schema_choices",
)

_WORDS: Final = {
    "accept": "yes",
    "reject": "no",
    "edit": "edit args",
    "response": "respond",
    "message": "message",
}
_FLAGS: Final = {"accept": "allow_accept", "edit": "allow_edit", "response": "allow_respond"}
"""The field of a question's config that allows each kind of answer; "reject" is always allowed."""

_MESSAGE: Final = "message: "


class Answered(NamedTuple):
    """An answer to send."""

    interrupt_id: str
    answer: dict[str, Any]


class Typed(NamedTuple):
    """A message to send into the run."""

    text: str


class Editing(NamedTuple):
    """The proposed arguments are to be edited in an editor; then call `Dialog.edited`."""

    interrupt_id: str
    args: Any


class Said(NamedTuple):
    """Something to tell the person."""

    text: str


Meaning: TypeAlias = Answered | Typed | Editing | Said | None

_Question: TypeAlias = dict[str, Any]


class Dialog:
    """What the prompt asks for now, and what a line means there.

    Args:
        takes_messages: whether a line without a question is a message to the run.
        has_editor: whether arguments are edited in an editor, and not field by field.
    """

    def __init__(self, *, takes_messages: bool = False, has_editor: bool = False) -> None:
        self._takes_messages = takes_messages
        self._has_editor = has_editor
        self._open: dict[str, _Question] = {}
        self._sent: set[str] = set()
        """Questions whose answer is on its way."""
        self._step = ""
        """What the next line is: "" a key or a message, else "response", "message", "edit"."""
        self._fields: list[tuple[str, Any]] = []
        self._edited: dict[str, Any] = {}

    @property
    def question(self) -> _Question | None:
        """The question that the prompt is about."""
        return next((one for key, one in self._open.items() if key not in self._sent), None)

    @property
    def prompt(self) -> str:
        """The prompt before the line; "" while there is nothing to ask."""
        question = self.question
        if self._step == "message":
            return _MESSAGE
        if question is None:
            return ""
        if self._step == "response":
            return "response: "
        if self._step == "edit":
            name, value = self._fields[0]
            return f"  {plain(name)} [{_json(value)}]: "
        keys = ", ".join(_key(kind) for kind in self._kinds(question))
        waiting = len(self._open) - len(self._sent)
        return f"({waiting} questions) {keys}: " if waiting > 1 else f"{keys}: "

    def ask(self, question: _Question) -> None:
        """Add a question, in the form of an `interrupt_request`'s data or a snapshot's entry."""
        self._open.setdefault(str(question.get("interrupt_id", "")), question)

    def close(self, interrupt_id: str) -> None:
        """Drop a question that was answered, here or elsewhere, or is closed."""
        question = self.question
        if question is not None and question.get("interrupt_id") == interrupt_id:
            self._step = "message" if self._step == "message" else ""
        self._open.pop(interrupt_id, None)
        self._sent.discard(interrupt_id)

    def refused(self, interrupt_id: str) -> None:
        """Ask again: the answer was refused."""
        self._sent.discard(interrupt_id)

    def leave(self) -> None:
        """Go back from a part of an answer to its beginning."""
        self._step = ""

    def take(self, line: str) -> Meaning:
        """Return what a line means."""
        question = self.question
        if self._step == "message":
            self._step = ""
            return Typed(line) if line.strip() else None
        if question is None:
            return Typed(line) if self._takes_messages and line.strip() else None
        if self._step == "response":
            return self._respond(question, line)
        if self._step == "edit":
            return self._edit(question, line)
        return self._choose(question, line.strip().lower())

    def edited(self, interrupt_id: str, args: Any) -> Answered:
        """Return the answer with arguments that were edited."""
        return self._done(interrupt_id, {"type": "edit", "args": args})

    def _kinds(self, question: _Question) -> list[str]:
        config = _config_of(question)
        kinds = [kind for kind in _WORDS if kind != "message"]
        allowed = [kind for kind in kinds if config.get(_FLAGS.get(kind, "")) is not False]
        return [*allowed, "message"] if self._takes_messages else allowed

    def _choose(self, question: _Question, line: str) -> Meaning:
        kinds = self._kinds(question)
        kind = next((one for one in kinds if line and _WORDS[one].startswith(line)), None)
        if kind is None:
            keys = ", ".join(_WORDS[one][0] for one in kinds)
            return Said(f"expected one of {keys}" + (f", got {plain(line)!r}" if line else ""))
        interrupt_id = str(question["interrupt_id"])
        if kind in ("accept", "reject"):
            return self._done(interrupt_id, {"type": kind})
        if kind == "message":
            self._step = kind
            return None
        if kind == "response":
            self._step = kind
            choices = schema_choices(question)
            lines = [f"  {at}) {_json(each)}" for at, each in enumerate(choices, 1)]
            return Said("\n".join(lines)) if lines else None
        if question.get("args_dropped"):
            return Said("the args are too long to edit here; send them with --edit JSON")
        if self._has_editor:
            return Editing(interrupt_id, question.get("args"))
        args = question.get("args")
        self._fields = list(args.items()) if isinstance(args, dict) and args else [("args", args)]
        self._edited = {}
        self._step = "edit"
        return None

    def _respond(self, question: _Question, line: str) -> Meaning:
        interrupt_id = str(question["interrupt_id"])
        try:
            value = _read_response(_schema_of(question), schema_choices(question), line)
        except InvalidValue as error:
            return Said(error.message)
        return self._done(interrupt_id, {"type": "response", "args": value})

    def _edit(self, question: _Question, line: str) -> Meaning:
        name, value = self._fields[0]
        try:
            self._edited[name] = _field(value, line)
        except InvalidValue as error:
            return Said(f"{error.message}; an empty line keeps {_json(value)}")
        del self._fields[0]
        if self._fields:
            return None
        is_whole = isinstance(question.get("args"), dict) and question["args"]
        args = self._edited if is_whole else self._edited["args"]
        return self.edited(str(question["interrupt_id"]), args)

    def _done(self, interrupt_id: str, answer: dict[str, Any]) -> Answered:
        self._step = ""
        self._sent.add(interrupt_id)
        return Answered(interrupt_id, answer)


def schema_choices(question: _Question) -> list[Any]:
    """Return the values that a question offers for a response; [] if it is open."""
    return choices_of(question.get("config"))


def parse_json(text: str, what: str = "args") -> Any:
    """Return the value of JSON; an error calls it `what`. Raises `InvalidValue`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"expected {what} as JSON: {error}") from None


def _key(kind: str) -> str:
    word = _WORDS[kind]
    return f"[{word[0]}]{word[1:]}"


def _config_of(question: _Question) -> dict[str, Any]:
    config = question.get("config")
    return config if isinstance(config, dict) else {}


def _schema_of(question: _Question) -> dict[str, Any]:
    schema = _config_of(question).get("response_schema")
    return schema if isinstance(schema, dict) else {}


def _read_response(schema: dict[str, Any], choices: list[Any], line: str) -> Any:
    """Return what a line says: one of the choices, JSON where the schema wants it, else text."""
    if choices:
        text = line.strip()
        if text.isascii() and text.isdigit() and 1 <= int(text) <= len(choices):
            return choices[int(text) - 1]
        for each in choices:
            if text and text.lower() in (str(each).lower(), json.dumps(each).lower()):
                return each
        raise InvalidValue(f"expected a number of 1 to {len(choices)}, or one of these values")
    kinds = schema.get("type")
    if kinds in ("integer", "number", "object", "array"):
        return parse_json(line, f"a response of the type {kinds}")
    return line


def _field(value: Any, line: str) -> Any:
    """Return a field's new value. If the proposed value is a string, the line is; else JSON."""
    if not line:
        return value
    if isinstance(value, str) and not line.startswith('"'):
        return line
    return parse_json(line)


def _json(value: Any) -> str:
    return plain(json.dumps(value, ensure_ascii=False))


def described(question: _Question) -> Iterator[str]:
    """Yield lines for a question: its text, marked, and what it proposes."""
    for line in str(question.get("message") or question.get("interrupt_id")).split("\n"):
        yield f"> {plain(line)}"  # marked, so that no line of the run can look like one of ours
    if question.get("action"):
        yield f"  action  {plain(str(question['action']))}"
    if question.get("args") is not None:
        yield f"  args    {_json(question['args'])}"
    if question.get("args_dropped"):
        yield f"  and {question['args_dropped']} more characters of args; the run's log has them"
    if _config_of(question).get("response_schema") is not None:
        yield f"  schema  {_json(_config_of(question)['response_schema'])}"
