"""The `data` of each standard event type as a type, for type checkers.

    if (bar := event.data_of("progress")) is not None:
        print(bar.get("percent"))                        # float | None

A function may emit a standard type with other fields, so only fields that runcast itself always
writes are required. A test compares these types with `schemas.DATA`.
"""

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar, overload

import msgspec

from runcast.errors import InvalidValue, PeerError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "CancelledData",
    "ContentCompleteData",
    "ContentData",
    "DoneData",
    "ErrorData",
    "FailedData",
    "FilesData",
    "GapData",
    "HasData",
    "InterruptRequestData",
    "InterruptResolvedData",
    "InterruptResponseData",
    "InterruptWaitingData",
    "LogData",
    "MessageData",
    "MessageReadData",
    "NodeCompleteData",
    "ProgressData",
    "ResultData",
    "StartedData",
    "StepData",
    "StepProgressData",
    "ThoughtData",
    "ToolCallData",
    "ToolCallDeltaData",
    "ToolResultData",
    "UsageData",
)

T = TypeVar("T")

_Class: TypeAlias = type[T]  # `type` is a field of events


# The life of a run.


class StartedData(TypedDict, total=False):
    """Of `started`."""

    function: str
    labels: dict[str, Any]
    attempt: int
    recovered: bool


class DoneData(TypedDict, total=False):
    """Of `done`."""

    result: Any
    summary: Any


class FailedData(TypedDict):
    """Of `failed`; `code` says why, for programs."""

    message: str
    code: str
    retryable: bool


class CancelledData(TypedDict):
    """Of `cancelled`."""

    reason: str


# Steps, progress and log.


class StepData(TypedDict, total=False):
    """Of `step_start` and `step_complete`."""

    message: str
    step_id: str


class StepProgressData(TypedDict, total=False):
    """Of `step_progress`; `percent` is 0 to 100."""

    percent: float
    message: str
    step_id: str


class NodeCompleteData(TypedDict, total=False):
    """Of `node_complete`."""

    message: str
    aggregated: Any
    step_id: str


class ProgressData(TypedDict, total=False):
    """Of `progress`; `percent` is 0 to 100, and `task` names the bar."""

    current: float
    total: float
    percent: float
    message: str
    task: str


class LogData(TypedDict, total=False):
    """Of `log`."""

    level: str
    message: str
    logger: str


# Text.


class ContentData(TypedDict, total=False):
    """Of `content`: a piece of a text."""

    text: str
    message_id: str
    index: int
    attempt: int


class ContentCompleteData(TypedDict, total=False):
    """Of `content_complete`; `message` is all of the text."""

    message: str
    message_id: str
    attempt: int


class ThoughtData(TypedDict, total=False):
    """Of `thinking` and `reasoning`."""

    text: str
    message_id: str
    index: int
    attempt: int


# Tools and models.


class ToolCallData(TypedDict, total=False):
    """Of `tool_call`."""

    call_id: str
    tool: str
    args: Any
    attempt: int


class ToolCallDeltaData(TypedDict, total=False):
    """Of `tool_call_delta`: a piece of the arguments, as JSON text."""

    call_id: str
    tool: str
    text: str
    index: int
    attempt: int


class ToolResultData(TypedDict, total=False):
    """Of `tool_result`; `length` is that of the result, in characters."""

    call_id: str
    tool: str
    result: Any
    ok: bool
    length: int
    attempt: int


class UsageData(TypedDict, total=False):
    """Of `usage`: what one call of a model used."""

    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost: float
    currency: str


# Questions and messages.


class InterruptRequestData(TypedDict, total=False):
    """Of `interrupt_request`: a question; `expires_at` is Unix seconds."""

    interrupt_id: str
    action: str
    args: Any
    message: str
    config: Any
    expires_at: float


class InterruptWaitingData(TypedDict, total=False):
    """Of `interrupt_waiting`."""

    interrupt_id: str
    message: str


class InterruptResponseData(TypedDict, total=False):
    """Of `interrupt_response`: the answer to a question."""

    interrupt_id: str
    approved: bool
    answer: Any
    by: str


class InterruptResolvedData(TypedDict, total=False):
    """Of `interrupt_resolved`: the question is closed."""

    interrupt_id: str
    outcome: str
    message: str


MessageData = TypedDict(
    "MessageData", {"message_id": str, "data": Any, "from": str}, total=False
)  # `from` cannot be a name in a class
MessageData.__doc__ = "Of `message`: what somebody sent into the run."


class MessageReadData(TypedDict, total=False):
    """Of `message_read`: the run has read these messages."""

    message_ids: list[str]


# Other.


class ErrorData(TypedDict, total=False):
    """Of `error`: something failed, and the run goes on."""

    message: str
    code: str


class ResultData(TypedDict, total=False):
    """Of `result`: a result before the end."""

    value: Any


class FilesData(TypedDict, total=False):
    """Of `files`: the files that the run left."""

    files: list[Any]


class GapData(TypedDict):
    """Of `gap`, which is not in the log: the events after `before` cannot be read any more."""

    reason: str
    before: str
    after: str


class HasData:
    """What `Event` has for its `data`."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def seq(self) -> int: ...
        @property
        def type(self) -> str: ...
        @property
        def data(self) -> Any: ...

    @overload
    def data_of(self, kind: Literal["started"], /) -> StartedData | None: ...
    @overload
    def data_of(self, kind: Literal["done"], /) -> DoneData | None: ...
    @overload
    def data_of(self, kind: Literal["failed"], /) -> FailedData | None: ...
    @overload
    def data_of(self, kind: Literal["cancelled"], /) -> CancelledData | None: ...
    @overload
    def data_of(self, kind: Literal["step_start", "step_complete"], /) -> StepData | None: ...
    @overload
    def data_of(self, kind: Literal["step_progress"], /) -> StepProgressData | None: ...
    @overload
    def data_of(self, kind: Literal["node_complete"], /) -> NodeCompleteData | None: ...
    @overload
    def data_of(self, kind: Literal["progress"], /) -> ProgressData | None: ...
    @overload
    def data_of(self, kind: Literal["log"], /) -> LogData | None: ...
    @overload
    def data_of(self, kind: Literal["content"], /) -> ContentData | None: ...
    @overload
    def data_of(self, kind: Literal["content_complete"], /) -> ContentCompleteData | None: ...
    @overload
    def data_of(self, kind: Literal["thinking", "reasoning"], /) -> ThoughtData | None: ...
    @overload
    def data_of(self, kind: Literal["tool_call"], /) -> ToolCallData | None: ...
    @overload
    def data_of(self, kind: Literal["tool_call_delta"], /) -> ToolCallDeltaData | None: ...
    @overload
    def data_of(self, kind: Literal["tool_result"], /) -> ToolResultData | None: ...
    @overload
    def data_of(self, kind: Literal["usage"], /) -> UsageData | None: ...
    @overload
    def data_of(self, kind: Literal["interrupt_request"], /) -> InterruptRequestData | None: ...
    @overload
    def data_of(self, kind: Literal["interrupt_waiting"], /) -> InterruptWaitingData | None: ...
    @overload
    def data_of(self, kind: Literal["interrupt_response"], /) -> InterruptResponseData | None: ...
    @overload
    def data_of(self, kind: Literal["interrupt_resolved"], /) -> InterruptResolvedData | None: ...
    @overload
    def data_of(self, kind: Literal["message"], /) -> MessageData | None: ...
    @overload
    def data_of(self, kind: Literal["message_read"], /) -> MessageReadData | None: ...
    @overload
    def data_of(self, kind: Literal["error"], /) -> ErrorData | None: ...
    @overload
    def data_of(self, kind: Literal["result"], /) -> ResultData | None: ...
    @overload
    def data_of(self, kind: Literal["files"], /) -> FilesData | None: ...
    @overload
    def data_of(self, kind: Literal["gap"], /) -> GapData | None: ...
    @overload
    def data_of(self, kind: str, /) -> "Mapping[str, Any] | None": ...
    @overload
    def data_of(self, kind: str, shape: _Class[T], /) -> T | None: ...
    def data_of(self, kind: str, shape: _Class[T] | None = None, /) -> object:
        """Return the event's `data` if it is of a type and its `data` is an object, else None.

        Type checkers know the fields of standard types (`runcast.events.data`). For a type of your
        own, pass what it looks like: a dataclass, a `TypedDict` or a msgspec struct.

        Args:
            kind: the type, like `progress`.
            shape: what the `data` is converted to; by default it stays a dict.

        Raises:
            PeerError: the `data` does not have the given shape.
            InvalidValue: `shape` is a class that JSON cannot be converted to.
        """
        if self.type != kind:
            return None
        if shape is None:
            return self.data if isinstance(self.data, dict) else None
        try:
            return msgspec.convert(self.data, shape)
        except msgspec.ValidationError as error:
            raise PeerError(
                f"expected the data of a {kind} event as {shape.__name__}, got event {self.seq}, "
                f"which has another shape: {error!s:.300}"
            ) from None
        except TypeError:
            raise InvalidValue(
                "expected a dataclass, a TypedDict or a msgspec struct for the data of a "
                f"{kind} event, got {shape!r:.100}"
            ) from None
