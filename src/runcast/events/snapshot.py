"""The present state of a run: what a late watcher needs instead of the whole log.

A snapshot is bounded. Every list has a named cap and every text a longest length. What does not
fit is dropped and counted, either in the entry that was cut (`dropped`, `…_dropped`) or in
`Snapshot.dropped`. The largest snapshot holds about 3 million characters; a usual one is a few
KiB.

Values (arguments, results, files) are kept whole while their JSON is short. A value whose JSON is
longer, or nested over 100 deep, is kept as the beginning of its JSON text. A long string is cut to
its beginning. The field beside the value, `…_dropped`, counts the characters cut.

In JSON a snapshot has all its fields; its entries leave out their empty fields.

Long because it is one record: the state, its entries and their bounds.
"""

from typing import Any, Final

import msgspec

from runcast.events.lifecycle import MAX_QUESTIONS, Status

__all__ = (
    "MAX_ALL_TEXT_CHARS",
    "MAX_ANSWERED",
    "MAX_BARS",
    "MAX_COMPLETED_STEPS",
    "MAX_COST",
    "MAX_ERRORS",
    "MAX_FILES",
    "MAX_FILE_CHARS",
    "MAX_INBOX",
    "MAX_INBOX_BYTES",
    "MAX_INTERRUPTS",
    "MAX_LABELS",
    "MAX_LOGS",
    "MAX_MESSAGES",
    "MAX_MESSAGE_CHARS",
    "MAX_NAME_CHARS",
    "MAX_QUESTION_CHARS",
    "MAX_RESULT_CHARS",
    "MAX_STEPS",
    "MAX_TEXTS",
    "MAX_TEXT_CHARS",
    "MAX_TOOLS",
    "MAX_TYPES",
    "MAX_USAGE",
    "MAX_VALUE_CHARS",
    "Answered",
    "CompletedStep",
    "Dropped",
    "ErrorNote",
    "Failure",
    "Interrupt",
    "LogLine",
    "Progress",
    "Snapshot",
    "Step",
    "Text",
    "Tool",
    "Unread",
    "Usage",
)

MAX_TEXTS: Final = 64
"""Most texts; the text not continued for longest is dropped first."""

MAX_TEXT_CHARS: Final = 65_536
"""Most characters of one text, its tail: a report of some 10,000 words is kept whole."""

MAX_ALL_TEXT_CHARS: Final = 262_144
"""Most characters of all texts together, checked when a new text begins."""

MAX_STEPS: Final = 64
"""Most open steps; the step without an event for longest is dropped first."""

MAX_BARS: Final = 32
"""Most named bars; the finished bar that moved first is dropped first, else the bar that did."""

MAX_COMPLETED_STEPS: Final = 64
"""Most completed steps; the latest are kept."""

MAX_TOOLS: Final = 50
"""Most tool calls; the oldest finished call is dropped first."""

MAX_VALUE_CHARS: Final = 8_192
"""Most characters of a tool call's arguments or result, as JSON."""

MAX_INTERRUPTS: Final = MAX_QUESTIONS
"""Most open interrupts; the oldest is dropped first."""

MAX_ANSWERED: Final = 20
"""Most answered questions; the latest are kept."""

MAX_QUESTION_CHARS: Final = 32_768
"""Most characters of an interrupt's arguments, as JSON: a person who approves them should see all
of them."""

MAX_ERRORS: Final = 20
"""Most recoverable errors; the latest are kept."""

MAX_LOGS: Final = 50
"""Most log lines; the latest are kept."""

MAX_FILES: Final = 200
"""Most files; the first are kept."""

MAX_FILE_CHARS: Final = 1_024
"""Most characters of one file's description, as JSON."""

MAX_RESULT_CHARS: Final = 65_536
"""Most characters of the run's result, and of its summary, as JSON."""

MAX_MESSAGE_CHARS: Final = 2_000
"""Most characters of a message, from its beginning."""

MAX_NAME_CHARS: Final = 256
"""Most characters of a name, an id or a label, from its beginning."""

MAX_LABELS: Final = 32
"""Most labels; the first are kept."""

MAX_TYPES: Final = 64
"""Most event types counted by name; the first are kept."""


MAX_COST: Final = 1e300
"""Largest cost that is added up: the sum stays a number."""

MAX_USAGE: Final = 64
"""Most models and agents whose usage is added up; the first are kept."""


MAX_INBOX: Final = 64
"""Most unread messages of a run; a further message is refused."""

MAX_INBOX_BYTES: Final = 16_384
"""Largest data of a message, as JSON: unread messages are kept whole in the state of the run."""

MAX_MESSAGES: Final = 2 * MAX_INBOX
"""Most unread messages that a state keeps: several senders at once may pass MAX_INBOX."""


class Text(msgspec.Struct, omit_defaults=True):
    """A text streamed in pieces, by one agent of one node under one message id.

    `kind` is the type of its events. `text` is the tail, before which `dropped` characters are
    gone. A text without message id ends with a `content_complete`; the next piece begins another.
    `attempt` is the try whose text this is: the first piece of a higher one begins the text again.
    """

    kind: str
    first_seq: int
    last_seq: int
    node: str = ""
    agent: str = ""
    message_id: str = ""
    text: str = ""
    dropped: int = 0
    is_complete: bool = False
    attempt: int = 1


class Step(msgspec.Struct, omit_defaults=True):
    """A step begun and not completed. `since` is Unix seconds.

    There is one for each node, agent and `step_id`.

    `message` is what the step does. `note` is how it goes, from the last `step_progress`.
    """

    since: float
    node: str = ""
    agent: str = ""
    message: str = ""
    note: str = ""
    percent: int | float | None = None
    step_id: str = ""


class CompletedStep(msgspec.Struct, omit_defaults=True):
    """A step that is complete. Times are Unix seconds, `duration` is seconds.

    `seq` is that of the event which completed the step. `since` is None if nothing was said of the
    step before. `duration` is what that event says, or else the time since the step began; None if
    neither is known.
    """

    seq: int
    ended_at: float
    node: str = ""
    agent: str = ""
    message: str = ""
    note: str = ""
    since: float | None = None
    duration: int | float | None = None
    step_id: str = ""


class Progress(msgspec.Struct, omit_defaults=True):
    """How far the run is; `percent` is 0 to 100, computed from the other fields if the event has no
    percentage.

    `task` names one of several bars, with `node` and `agent`. `seq` is that of the event.
    """

    current: int | float | None = None
    total: int | float | None = None
    percent: int | float | None = None
    message: str = ""
    task: str = ""
    node: str = ""
    agent: str = ""
    seq: int = 0


class Tool(msgspec.Struct, omit_defaults=True):
    """One call of a tool; it runs as long as `ended_at` is None. Times are Unix seconds.

    Until `called_at` is set a model is still writing the arguments: `args_text` is what there is
    of their JSON. `attempt` is the try that the call is part of.
    """

    seq: int
    call_id: str = ""
    tool: str = ""
    node: str = ""
    agent: str = ""
    args: Any = None
    args_dropped: int = 0
    called_at: float | None = None
    result: Any = None
    result_dropped: int = 0
    ok: bool | None = None
    ended_at: float | None = None
    args_text: str = ""
    attempt: int = 1


class Interrupt(msgspec.Struct, omit_defaults=True):
    """A question that the run waits for; `is_answered` is True once an answer is stored but not yet
    acted on."""

    seq: int
    asked_at: float
    interrupt_id: str = ""
    node: str = ""
    agent: str = ""
    action: str = ""
    message: str = ""
    args: Any = None
    args_dropped: int = 0
    config: Any = None
    config_dropped: int = 0
    expires_at: int | float | str | None = None
    is_answered: bool = False


class Usage(msgspec.Struct, omit_defaults=True):
    """What the calls of a model used, added up for each model, agent and currency.

    `input_tokens` includes tokens read from a cache (`cached_tokens`); `output_tokens` includes
    tokens of reasoning. `cost` sums the calls with a cost; `unpriced` counts the others.
    """

    model: str = ""
    agent: str = ""
    currency: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0


class Answered(msgspec.Struct, omit_defaults=True):
    """A question that was decided, and how. `seq` is the question's. Times are Unix seconds.

    `answer` is the kind of answer: `accept`, `reject`, `edit` or `response`; "" if nobody answered.
    `args` are what it came with, `by` is who gave it. `outcome` says how the question was closed:
    `answered` or `expired`; "" while the run has not acted on the answer.
    """

    seq: int
    asked_at: float
    answered_at: float
    interrupt_id: str = ""
    node: str = ""
    agent: str = ""
    action: str = ""
    message: str = ""
    answer: str = ""
    approved: bool | None = None
    args: Any = None
    args_dropped: int = 0
    by: str = ""
    outcome: str = ""


class Unread(msgspec.Struct, omit_defaults=True):
    """A message sent into the run, which the run has not read yet. `sender` is `from` in JSON."""

    seq: int
    time: float
    message_id: str = ""
    sender: str = msgspec.field(default="", name="from")
    data: Any = None
    data_dropped: int = 0


class ErrorNote(msgspec.Struct, omit_defaults=True):
    """An error that the run reported without ending."""

    seq: int
    time: float
    message: str = ""
    code: str = ""
    node: str = ""
    agent: str = ""


class LogLine(msgspec.Struct, omit_defaults=True):
    """A line of the run's log."""

    seq: int
    time: float
    level: str = ""
    message: str = ""
    logger: str = ""
    node: str = ""
    agent: str = ""


class Failure(msgspec.Struct, omit_defaults=True):
    """Why a run failed."""

    message: str = ""
    code: str = ""
    retryable: bool = False


class Dropped(msgspec.Struct):
    """How much a snapshot left out, by kind; all zero if it holds everything.

    `chars` counts characters cut from messages, names and values and lost from texts; `types`
    counts events whose type is not counted by name; `interrupts` counts questions that were still
    open.
    """

    chars: int = 0
    steps: int = 0
    texts: int = 0
    tools: int = 0
    interrupts: int = 0
    errors: int = 0
    logs: int = 0
    files: int = 0
    labels: int = 0
    types: int = 0
    usage: int = 0
    completed_steps: int = 0
    answered: int = 0
    messages: int = 0
    bars: int = 0


class Snapshot(msgspec.Struct):
    """The state of a run after the event `seq`; `Snapshot()` is a run before its first event.

    `missed` counts events before `seq` that were never seen, because the log was trimmed or the
    events were filtered. `attempt` is the number of the latest attempt. If that attempt continues
    after a crash, `recovered_seq` is the `seq` of its `started`; texts, calls and steps from before
    do not go on after it. `interrupts_lapsed` counts those still open when the run ended. Times
    are Unix seconds. `progress` is the latest progress; `bars` has the latest of each named bar.
    Lists are in order of appearance, except `steps`: the current step, which had the latest event,
    comes last.
    """

    seq: int = 0
    missed: int = 0
    status: Status = "queued"
    function: str = ""
    labels: dict[str, str] = {}
    started_at: float | None = None
    attempt: int = 1
    recovered_seq: int = 0
    ended_at: float | None = None
    updated_at: float | None = None
    steps: list[Step] = []
    progress: Progress | None = None
    texts: list[Text] = []
    tools: list[Tool] = []
    usage: list[Usage] = []
    messages: list[Unread] = []
    messages_read: int = 0
    interrupts: list[Interrupt] = []
    interrupts_resolved: int = 0
    interrupts_lapsed: int = 0
    errors: list[ErrorNote] = []
    logs: list[LogLine] = []
    files: list[Any] = []
    result: Any = None
    result_dropped: int = 0
    summary: Any = None
    summary_dropped: int = 0
    failure: Failure | None = None
    cancel_reason: str = ""
    counts: dict[str, int] = {}
    completed_steps: list[CompletedStep] = []
    answered: list[Answered] = []
    bars: list[Progress] = []
    dropped: Dropped = msgspec.field(default_factory=Dropped)
