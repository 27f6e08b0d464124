"""The calls of models and tools that an agent makes for a task, and their attempts.

CrewAI runs an agent again if a call failed or a guardrail refused the output. All its calls come
again then, under new ids. Here the n-th call of each attempt has the id of the first attempt's
n-th call, and a higher attempt, so that watchers replace what the failed attempt wrote.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from runcast.sources._crew_fields import Key, plain_name
from runcast.sources._react_text import ReactText

__all__ = ("Execution", "Executions", "ModelCall", "ToolCall")

_NOBODY: Final = ("", "")
"""The key of calls that no agent makes: nothing belongs together there."""

_MAX_WAITING: Final = 256
"""Most streamed calls that wait until their tool is called; a model asks for a few at once."""

_MAX_EXECUTIONS: Final = 4096


@dataclass(slots=True)
class ToolCall:
    """A call of a tool; `text` is what the model has written of its arguments."""

    call_id: str
    tool: str
    attempt: int
    text: str = ""


class Execution:
    """What an agent does for a task."""

    def __init__(self) -> None:
        self.attempt = 1
        self.has_begun = False
        """Whether CrewAI has reported its beginning."""
        self.answer = ""
        """The last text that the agent wrote."""
        self._messages: list[str] = []
        self._calls: list[_CallId] = []
        self._made_messages = self._made_calls = 0
        self._waiting: deque[ToolCall] = deque(maxlen=_MAX_WAITING)

    def begin_again(self) -> None:
        """Begin the next attempt."""
        self.attempt += 1
        self._made_messages = self._made_calls = 0
        self._waiting.clear()

    def next_message(self, call_id: str) -> tuple[str, int]:
        """Return the message id and the attempt of a model call that begins."""
        number, self._made_messages = self._made_messages, self._made_messages + 1
        if number >= len(self._messages):
            self._messages.append(call_id)
        return self._messages[number], self.attempt

    def stream_call(self, tool: str, call_id: str) -> ToolCall:
        """Return a call whose arguments a model begins to write."""
        made = self._new_call(tool, call_id)
        self._waiting.append(made)
        return made

    def take_call(self, tool: str, args: object, call_id: str, tries: int = 0) -> ToolCall:
        """Return the call of a tool that begins: the one that was streamed for it, or a new one.

        Args:
            call_id: the id of a new call.
            tries: how often CrewAI has tried this call, from 1; 0 if it does not count.
        """
        if tries > 1 and self._calls:
            return self._calls[self._made_calls - 1].again(tool)
        for is_it in (_has_args, _has_name):
            for made in self._waiting:
                if is_it(made, tool, args):
                    self._waiting.remove(made)
                    return made
        return self._new_call(tool, call_id)

    def _new_call(self, tool: str, call_id: str) -> ToolCall:
        number, self._made_calls = self._made_calls, self._made_calls + 1
        if number >= len(self._calls):
            self._calls.append(_CallId(call_id or f"{self._messages[-1]}-{number}"))
        return self._calls[number].again(tool)


@dataclass(slots=True)
class _CallId:
    """The id of a call, and how often the call was begun."""

    call_id: str
    attempts: int = 0

    def again(self, tool: str) -> ToolCall:
        self.attempts += 1
        return ToolCall(self.call_id, tool, self.attempts)


class Executions:
    """The executions of a run, by the ids of their task and agent."""

    def __init__(self) -> None:
        self._all: dict[Key, Execution] = {}

    def find(self, key: Key) -> Execution:
        """Return an execution; a new one if there is none."""
        return self._all.get(key) or self._add(key)

    def begin(self, key: Key) -> None:
        """Begin an execution, or its next attempt."""
        execution = self.find(key)
        if execution.has_begun:
            execution.begin_again()
        execution.has_begun = True

    def _add(self, key: Key) -> Execution:
        execution = Execution()
        if key != _NOBODY:
            self._all[key] = execution
            if len(self._all) > _MAX_EXECUTIONS:
                self._all.pop(next(iter(self._all)), None)
        return execution

    def has_answered(self, task: str, text: str) -> bool:
        """Return whether an agent has written a text for a task, as its last one.

        White space does not count: CrewAI writes JSON again in its own form.
        """
        words = "".join(text.split())
        return any(
            "".join(it.answer.split()) == words
            for key, it in [*self._all.items()]
            if key[0] == task and it.answer
        )

    def forget_task(self, task: str) -> None:
        """Forget a task's executions: it may be executed again, as a new one."""
        for key in list(self._all):  # at once: other threads add to it
            if key[0] == task:
                self._all.pop(key, None)

    def forget_agent(self, agent: str) -> None:
        """Forget what an agent has done without a task."""
        self._all.pop(("", agent), None)


@dataclass(slots=True)
class ModelCall:
    """A call of a model that is under way."""

    message_id: str
    attempt: int
    node: str
    agent: str
    execution: Execution
    is_hidden: bool
    """Whether CrewAI makes it for itself: only its usage is of interest."""
    splitter: ReactText | None
    has_text: bool = False
    acting: ToolCall | None = None
    streamed: dict[int, ToolCall] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)


def _has_name(made: ToolCall, tool: str, args: object) -> bool:
    return plain_name(made.tool) == plain_name(tool)


def _has_args(made: ToolCall, tool: str, args: object) -> bool:
    if not _has_name(made, tool, args):
        return False
    try:
        wanted = json.loads(args) if isinstance(args, str) else args
        return bool(json.loads(made.text or "{}") == wanted)
    except ValueError:
        return made.text == args
