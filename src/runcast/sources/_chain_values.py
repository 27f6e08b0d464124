"""Values of LangChain's calls as events can hold them: results of tools, messages of nodes."""

from collections.abc import Iterator, Mapping, Sequence

from runcast.sources._graph_chunks import Message, read_message

__all__ = ("messages_in", "result_of")


def result_of(output: object, call_id: str) -> tuple[object, bool | None]:
    """Return what a tool returned, and whether that is a success."""
    message = output
    update = getattr(output, "update", None)
    if isinstance(update, Mapping):  # a command to the graph, with the message in it
        found = [it for it in _items(update) if getattr(it, "tool_call_id", "") == call_id]
        message = found[0] if found else output
    read = read_message(message)
    if read is not None and read.kind == "tool":
        return read.text, read.ok is not False
    return output, True


def messages_in(value: object) -> Iterator[Message]:
    """Yield the messages in what a node gets or returns, alone, in lists or in a state."""
    for item in _items(value):
        read = None if isinstance(item, str) else read_message(item)
        if read is not None and read.kind != "other":
            yield read


def _items(value: object, depth: int = 0) -> Iterator[object]:
    if depth > 3:
        return
    if isinstance(value, Mapping) and "content" in value and ("role" in value or "type" in value):
        yield value  # a message that the graph will make an object of
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _items(item, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _items(item, depth + 1)
    elif value is not None:
        update = None if hasattr(value, "content") else getattr(value, "update", None)
        if isinstance(update, Mapping | list | tuple):
            yield from _items(update, depth + 1)
        else:
            yield value
