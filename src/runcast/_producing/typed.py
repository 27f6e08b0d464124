"""The typed events of the current run, from anywhere inside it; see `TypedEvents`.

Outside a run these functions do nothing, like the functions of `context`.
"""

from typing import Unpack

from runcast._producing.calls import PlaceFields
from runcast._producing.context import current_writer

__all__ = (
    "step_complete",
    "step_progress",
    "step_start",
    "thinking",
    "tool_call",
    "tool_call_delta",
    "tool_result",
    "usage",
)


def thinking(
    text: str, *, message_id: str = "", attempt: int = 1, **place: Unpack[PlaceFields]
) -> None:
    """Append a piece of a thought to the current run; see `Writer.thinking`."""
    writer = current_writer()
    if writer is not None:
        writer.thinking(text, message_id=message_id, attempt=attempt, **place)


def tool_call(
    tool: str,
    args: object = None,
    *,
    call_id: str = "",
    message: str = "",
    attempt: int = 1,
    **place: Unpack[PlaceFields],
) -> None:
    """Report the call of a tool to the current run; see `Writer.tool_call`."""
    writer = current_writer()
    if writer is not None:
        writer.tool_call(tool, args, call_id=call_id, message=message, attempt=attempt, **place)


def tool_call_delta(
    text: str, *, call_id: str, tool: str = "", attempt: int = 1, **place: Unpack[PlaceFields]
) -> None:
    """Append a piece of a call's arguments to the current run; see `Writer.tool_call_delta`."""
    writer = current_writer()
    if writer is not None:
        writer.tool_call_delta(text, call_id=call_id, tool=tool, attempt=attempt, **place)


def tool_result(
    tool: str,
    result: object = None,
    *,
    call_id: str = "",
    ok: bool | None = None,
    attempt: int = 1,
    **place: Unpack[PlaceFields],
) -> None:
    """Report the result of a tool to the current run; see `Writer.tool_result`."""
    writer = current_writer()
    if writer is not None:
        writer.tool_result(tool, result, call_id=call_id, ok=ok, attempt=attempt, **place)


def usage(
    model: str,
    input_tokens: int = 0,
    output_tokens: int = 0,
    *,
    cached_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    cost: float | None = None,
    currency: str = "",
    **place: Unpack[PlaceFields],
) -> None:
    """Report the usage of a model call to the current run; see `Writer.usage`."""
    writer = current_writer()
    if writer is not None:
        writer.usage(
            model,
            input_tokens,
            output_tokens,
            cached_tokens=cached_tokens,
            reasoning_tokens=reasoning_tokens,
            cost=cost,
            currency=currency,
            **place,
        )


def step_start(message: str = "", *, step_id: str = "", **place: Unpack[PlaceFields]) -> None:
    """Report the beginning of a step to the current run; see `Writer.step_start`."""
    writer = current_writer()
    if writer is not None:
        writer.step_start(message, step_id=step_id, **place)


def step_progress(
    percent: float | None = None,
    message: str = "",
    *,
    step_id: str = "",
    **place: Unpack[PlaceFields],
) -> None:
    """Report the progress of a step to the current run; see `Writer.step_progress`."""
    writer = current_writer()
    if writer is not None:
        writer.step_progress(percent, message, step_id=step_id, **place)


def step_complete(message: str = "", *, step_id: str = "", **place: Unpack[PlaceFields]) -> None:
    """Report the end of a step to the current run; see `Writer.step_complete`."""
    writer = current_writer()
    if writer is not None:
        writer.step_complete(message, step_id=step_id, **place)
