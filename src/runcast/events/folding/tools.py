"""What calls of tools change in the state of a run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runcast.events import snapshot as caps
from runcast.events.folding.fields import Fields, Law
from runcast.events.snapshot import Snapshot, Tool
from runcast.events.vocabulary import as_text, pick

__all__ = ("TOOLS",)


def _tool_call(snapshot: Snapshot, fields: Fields) -> None:
    call_id = fields.name("call_id")
    tool = _call_to_write(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields):
        return
    tool.tool = tool.tool or fields.name("tool", "tool_name")
    tool.called_at = fields.time
    tool.args, tool.args_dropped = fields.kept(pick(fields.data, "args"), caps.MAX_VALUE_CHARS)
    tool.args_text = ""


def _tool_call_delta(snapshot: Snapshot, fields: Fields) -> None:
    call_id, piece = fields.name("call_id"), pick(fields.data, "text", "content")
    if not call_id or not isinstance(piece, str):
        return
    tool = _call_to_write(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields) or tool.called_at is not None or tool.ended_at is not None:
        return
    whole = tool.args_text + as_text(piece)
    over = max(0, len(whole) - caps.MAX_VALUE_CHARS)
    tool.args_text = whole[: caps.MAX_VALUE_CHARS]
    tool.args_dropped += over
    snapshot.dropped.chars += over


def _call_to_write(snapshot: Snapshot, fields: Fields, call_id: str) -> Tool:
    """Return the call that an event describes. A call from before a crash is made again; only a
    result may still belong to it."""
    tool = _call_with(snapshot, call_id)
    if tool is not None and tool.seq < snapshot.recovered_seq:
        snapshot.tools.remove(tool)
        tool = None
    return tool or _new_call(snapshot, fields, call_id)


def _is_of_attempt(tool: Tool, fields: Fields) -> bool:
    """Return whether an event is of a call's last attempt; a higher one begins the call again."""
    attempt = fields.attempt()
    if attempt > tool.attempt:
        tool.attempt = attempt
        tool.args = tool.result = tool.ok = tool.called_at = tool.ended_at = None
        tool.args_dropped = tool.result_dropped = 0
        tool.args_text = ""
    return attempt == tool.attempt


def _tool_result(snapshot: Snapshot, fields: Fields) -> None:
    call_id = fields.name("call_id")
    known = _call_with(snapshot, call_id) if call_id else _running_call(snapshot, fields)
    tool = known or _new_call(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields):
        return
    ok, result = pick(fields.data, "ok"), pick(fields.data, "result", "content")
    tool.ended_at = fields.time
    tool.ok = ok if isinstance(ok, bool) else None
    tool.result, tool.result_dropped = fields.kept(result, caps.MAX_VALUE_CHARS)


def _call_with(snapshot: Snapshot, call_id: str) -> Tool | None:
    if call_id:
        for tool in reversed(snapshot.tools):
            if tool.call_id == call_id:
                return tool
    return None


def _running_call(snapshot: Snapshot, fields: Fields) -> Tool | None:
    """Return the last unfinished call without an id of this tool in this place, or None."""
    key = ("", fields.name("tool", "tool_name"), fields.node, fields.agent)
    for tool in reversed(snapshot.tools):
        if tool.ended_at is None and (tool.call_id, tool.tool, tool.node, tool.agent) == key:
            return tool
    return None


def _new_call(snapshot: Snapshot, fields: Fields, call_id: str) -> Tool:
    tools = snapshot.tools
    if len(tools) >= caps.MAX_TOOLS:
        del tools[next((index for index, tool in enumerate(tools) if tool.ended_at is not None), 0)]
        snapshot.dropped.tools += 1
    tools.append(
        Tool(fields.seq, call_id, fields.name("tool", "tool_name"), fields.node, fields.agent)
    )
    return tools[-1]


TOOLS: Final[Mapping[str, Law]] = MappingProxyType(
    {
        "tool_call": _tool_call,
        "tool_call_delta": _tool_call_delta,
        "tool_result": _tool_result,
    }
)
"""The laws, by event type."""
