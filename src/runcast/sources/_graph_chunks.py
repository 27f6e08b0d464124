"""Read the items of a graph's stream as plain data, without importing a graph library.

| chunk | read as |
|---|---|
| `(mode, data)` | a chunk of the root graph |
| `(namespace, mode, data)` `{"ns", "type", "data"}` | one of the graph that the namespace names |
| `(message, metadata)` | `messages` of the root graph |
| `{"type": "event", "method", "params"}` | an event of the newest form (v3), which has `is_event` |
| any other mapping | `updates` |

Messages and interrupts may be objects or mappings with the same names.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

from runcast.events.plain import encode_line
from runcast.events.vocabulary import as_text, pick

__all__ = (
    "Asked",
    "Call",
    "GraphChunk",
    "Message",
    "Usage",
    "is_review",
    "read_action",
    "read_chunk",
    "read_interrupts",
    "read_message",
    "read_namespace",
    "read_usage",
    "texts_of",
)


_FLAGS: Final = {"approve": "allow_accept", "edit": "allow_edit", "respond": "allow_respond"}
"""The name in a question's `config` for each decision that a review may allow."""


class GraphChunk(NamedTuple):
    """A part of a stream: the names of the graphs it comes from, outermost first; mode and data."""

    names: tuple[str, ...]
    mode: str
    data: Any
    graph: tuple[str, ...] = ()
    """The namespace: the names with the ids of their tasks."""
    is_event: bool = False


class Call(NamedTuple):
    """A tool call that a message asks for."""

    call_id: str
    tool: str
    args: Any


class Message(NamedTuple):
    """A message of a chat model or a tool, whole or in part."""

    kind: str
    """`ai`, `tool` or `other`."""
    is_part: bool
    message_id: str
    text: str
    thought: str
    calls: tuple[Call, ...]
    tool: str
    call_id: str
    ok: bool | None = None
    """Whether a tool succeeded; None if unknown."""
    usage: Any = None
    """What the model used, as LangChain has it; None if the message does not say."""
    model: str = ""


class Asked(NamedTuple):
    """A question of a graph."""

    interrupt_id: str
    action: str
    args: Any
    description: str
    config: Mapping[str, Any] | None


def read_chunk(chunk: object) -> GraphChunk | None:
    """Return a parsed chunk; None if its form is unknown."""
    if isinstance(chunk, Mapping):
        if chunk.get("type") == "event" and isinstance(chunk.get("params"), Mapping):
            return _read_event(as_text(chunk.get("method")), chunk["params"])
        if isinstance(chunk.get("type"), str) and "data" in chunk and "ns" in chunk:
            return _in_graph(chunk["ns"], chunk["type"], chunk["data"])
        return GraphChunk((), "updates", chunk)
    if not isinstance(chunk, tuple | list):
        return None
    match chunk:
        case [str() | tuple() | list() as namespace, str() as mode, data]:
            return _in_graph(namespace, mode, data)
        case [str() as mode, data]:
            return GraphChunk((), mode, data)
        case [tuple() | list() as namespace, data]:
            mode = "messages" if isinstance(data, tuple | list) else "updates"
            return _in_graph(namespace, mode, data)
        case [_, Mapping()]:
            return GraphChunk((), "messages", chunk)
    return None


def _read_event(method: str, params: Mapping[str, Any]) -> GraphChunk:
    data, interrupts = params.get("data"), params.get("interrupts")
    if interrupts and isinstance(data, Mapping):
        data = {**data, "__interrupt__": interrupts}
    return _in_graph(params.get("namespace"), method, data)._replace(is_event=True)


def _in_graph(namespace: object, mode: str, data: object) -> GraphChunk:
    graph = read_namespace(namespace)
    names = tuple(part.partition(":")[0] for part in graph)
    return GraphChunk(names, mode, data, graph)


def read_namespace(namespace: object) -> tuple[str, ...]:
    """Return the parts of a namespace, each with the id of its task."""
    parts = [namespace] if isinstance(namespace, str) else namespace
    return tuple(str(part) for part in parts if part) if isinstance(parts, tuple | list) else ()


# Messages.

_PART_OF_CLASS: Final = "Chunk"


def read_message(message: object) -> Message | None:
    """Return a parsed message; None if it is not a message."""
    kind = _get(message, "type") or _get(message, "role") or type(message).__name__
    content = _get(message, "content")
    usage = _get(message, "usage_metadata")
    if not isinstance(kind, str):
        return None
    if content is None and not _get(message, "tool_calls") and usage is None:
        return None
    name = kind.lower()
    text, thought = texts_of(content)
    more = _get(message, "additional_kwargs")
    thought = thought or as_text(pick(more, "reasoning_content", "reasoning"))
    is_part = name.endswith("chunk") or type(message).__name__.endswith(_PART_OF_CLASS)
    kind = "ai" if name.startswith(("ai", "assistant")) else "other"
    if name.startswith("tool"):
        kind = "tool"
        text = as_text(content) if not isinstance(content, str) and not text else text
    return Message(
        kind,
        is_part,
        as_text(_get(message, "id")),
        text,
        thought,
        () if is_part else tuple(_calls(_get(message, "tool_calls"))),
        as_text(_get(message, "name")),
        as_text(_get(message, "tool_call_id")),
        {"success": True, "error": False}.get(as_text(_get(message, "status"))),
        usage if kind == "ai" else None,
        as_text(_get(_get(message, "response_metadata"), "model_name")),
    )


def _calls(calls: object) -> Iterator[Call]:
    for call in calls if isinstance(calls, tuple | list) else ():
        tool = _get(call, "name")
        if tool:
            yield Call(as_text(_get(call, "id")), as_text(tool), _get(call, "args"))


def texts_of(content: object) -> tuple[str, str]:
    """Return the text and the thoughts of a content: a string, or a list of blocks."""
    if not isinstance(content, tuple | list):
        return as_text(content), ""
    text: list[str] = []
    thought: list[str] = []
    for block in content:
        kind = _get(block, "type")
        if isinstance(block, str):
            text.append(block)
        elif kind in ("thinking", "reasoning", "reasoning-delta"):
            thought.append(_thought_of(block))
        elif isinstance(_get(block, "text"), str):
            text.append(_get(block, "text"))
    return "".join(text), "".join(thought)


def _thought_of(block: object) -> str:
    thought = _get(block, "thinking") or _get(block, "reasoning")
    summary = _get(block, "summary")
    if thought is None and isinstance(summary, tuple | list):  # of OpenAI's Responses
        return "".join(as_text(_get(part, "text")) for part in summary)
    return as_text(thought)


# Usage.


class Usage(NamedTuple):
    """What a call of a model used; the numbers are whole and not negative."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None


def read_usage(usage: object) -> Usage | None:
    """Return a parsed usage, in LangChain's form or in that of OpenAI's chats; None if unknown."""
    given = _count(usage, "input_tokens", "prompt_tokens")
    written = _count(usage, "output_tokens", "completion_tokens")
    if given is None and written is None:
        return None
    return Usage(
        given or 0,
        written or 0,
        _count(_get(usage, "input_token_details"), "cache_read"),
        _count(_get(usage, "output_token_details"), "reasoning"),
    )


def _count(thing: object, *names: str) -> int | None:
    for name in names:
        number = _get(thing, name)
        if type(number) is int and number >= 0:
            return number
    return None


# Interrupts.


def read_interrupts(interrupts: object) -> list[Asked]:
    """Return every question that a graph asks at once."""
    found: list[Asked] = []
    for interrupt in interrupts if isinstance(interrupts, tuple | list) else [interrupts]:
        is_wrapped = isinstance(interrupt, Mapping) and "value" in interrupt
        is_object = not isinstance(interrupt, str | Mapping) and hasattr(interrupt, "value")
        value = _get(interrupt, "value") if is_wrapped or is_object else interrupt
        interrupt_id = as_text(_get(interrupt, "id") or _get(interrupt, "interrupt_id"))
        interrupt_id = interrupt_id[:100] or _id_of(value)
        if is_review(value):
            for index, request in enumerate(value["action_requests"]):
                name = f"{interrupt_id}-{index}" if index else interrupt_id
                found.append(read_action(name, request, value.get("review_configs")))
            continue
        several = value if isinstance(value, tuple | list) else [value]
        for index, one in enumerate(several):
            found.append(_asked(f"{interrupt_id}-{index}" if index else interrupt_id, one))
    return found


def is_review(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether a value asks for the review of several actions, as LangChain asks."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("action_requests"), list | tuple)
        and all(isinstance(one, Mapping) for one in value["action_requests"])
        and bool(value["action_requests"])
    )


def read_action(interrupt_id: str, request: Mapping[str, Any], reviews: object) -> Asked:
    """Return the question about an action, with the answers that its review allows."""
    name = as_text(request.get("name") or request.get("action"))
    config: dict[str, Any] | None = None
    for review in reviews if isinstance(reviews, list | tuple) else ():
        if isinstance(review, Mapping) and review.get("action_name") == name:
            allowed = review.get("allowed_decisions")
            if isinstance(allowed, list | tuple):
                config = {flag: kind in allowed for kind, flag in _FLAGS.items()}
    text = as_text(request.get("description")) or f"Run {name}?"
    return Asked(interrupt_id, name, request.get("args", {}), text, config)


def _asked(interrupt_id: str, value: Any) -> Asked:
    if not isinstance(value, Mapping):
        return Asked(interrupt_id, "", {}, as_text(value), None)
    request = value.get("action_request")
    request = request if isinstance(request, Mapping) else value
    config = value.get("config")
    rest = {name: item for name, item in value.items() if name not in _SAID}
    return Asked(
        interrupt_id,
        as_text(pick(dict(request), "action", "name")),
        request.get("args", {} if request is not value else rest),
        as_text(pick(dict(value), "description", "question", "message", "content")),
        config if isinstance(config, Mapping) else None,
    )


_SAID: Final = frozenset(
    {"action", "name", "args", "config", "description", "question", "message", "content"}
)


def _id_of(value: object) -> str:
    """Return an id for a question without an id; equal questions get equal ids."""
    said = encode_line(as_text(value))
    return f"i-{hashlib.blake2b(said, digest_size=8).hexdigest()}"


def _get(thing: object, name: str) -> Any:
    if isinstance(thing, Mapping):
        return thing.get(name)
    return None if isinstance(thing, str | int | float) else getattr(thing, name, None)
