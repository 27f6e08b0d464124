"""The reader of a graph's stream: chunks of all forms, and the events of the newest one (v3).

In v3 a message comes in blocks, which do not name it, and the messages of tools and of nodes come
only in the values of the graph. The first values of a graph are what it was given.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runcast.events.model import Event
from runcast.events.vocabulary import as_text
from runcast.sources._graph_chunks import (
    Call,
    GraphChunk,
    read_message,
    read_namespace,
    texts_of,
)
from runcast.sources._graph_reader import ChunkReader

__all__ = ("GraphReader",)

_MAX_OPEN: Final = 1024
"""Most messages that may be under way at the same time."""

_UNNAMED: Final = "LangGraph"
"""The name of a graph that was given no name."""


class GraphReader(ChunkReader):
    """Reads one stream, chunk by chunk, in whatever form the program asked for."""

    def __init__(self, node: str = "", agent: str = "") -> None:
        super().__init__(node, agent)
        self._writing: OrderedDict[object, str] = OrderedDict()
        """The id of the message that each task of a model writes."""
        self._begun: OrderedDict[tuple[str, ...], None] = OrderedDict()
        """The graphs whose first values have come."""
        self._readers |= {
            "lifecycle": self._lifecycle,
            "messages": self._messages,
            "tools": self._tools,
            "values": self._values,
        }

    def reads(self, chunk: GraphChunk) -> bool:
        """Return whether chunks of this mode can become events."""
        return super().reads(chunk) and (chunk.mode != "values" or chunk.is_event)

    # Blocks of messages.

    def _messages(self, chunk: GraphChunk) -> Iterator[Event]:
        parts = chunk.data if isinstance(chunk.data, tuple | list) else (chunk.data, {})
        metadata = parts[1] if len(parts) > 1 and isinstance(parts[1], Mapping) else {}
        self.place_in(chunk, metadata)
        block = parts[0] if parts else None
        if isinstance(block, Mapping) and isinstance(block.get("event"), str):
            yield from self._block(chunk, metadata, block)
        else:
            yield from self._tokens(chunk)

    def _block(
        self, chunk: GraphChunk, metadata: Mapping[str, Any], block: Mapping[str, Any]
    ) -> Iterator[Event]:
        node = as_text(metadata.get("langgraph_node"))
        task = metadata.get("langgraph_checkpoint_ns") or (*chunk.graph, node)
        kind = block["event"]
        if kind == "message-start":
            message_id = as_text(block.get("id"))
            self._writing[task] = message_id
            self._seen.remember(("message", message_id), 0)  # its values do not come again
            if len(self._writing) > _MAX_OPEN:
                self._writing.popitem(last=False)
        message_id = self._writing.get(task, "")
        piece = {"message_id": message_id} if message_id else {}
        if kind in ("content-block-start", "content-block-delta"):
            text, thought = texts_of([block.get("content") or block.get("delta")])
            if thought:
                yield self.event(chunk, node, "thinking", {"text": thought, **piece})
            if text:
                yield self.event(chunk, node, "content", {"text": text, **piece})
        elif kind == "content-block-finish":
            yield from self._finished(chunk, node, block.get("content"))
        elif kind == "message-finish":
            self._writing.pop(task, None)
            more = block.get("metadata")
            name = more.get("model_name") if isinstance(more, Mapping) else None
            named = as_text(name or metadata.get("ls_model_name"))
            yield from self.usage(chunk, node, named, block.get("usage"))

    def _finished(self, chunk: GraphChunk, node: str, block: object) -> Iterator[Event]:
        if isinstance(block, Mapping) and block.get("type") == "tool_call" and block.get("name"):
            call = Call(as_text(block.get("id")), as_text(block["name"]), block.get("args"))
            if self._seen.is_new("call", call.call_id):
                yield self.event(chunk, node, "tool_call", self.call(call))

    # Tools.

    def _tools(self, chunk: GraphChunk) -> Iterator[Event]:
        data = chunk.data if isinstance(chunk.data, Mapping) else {}
        kind, call_id = data.get("event"), as_text(data.get("tool_call_id"))
        tool = as_text(data.get("tool_name"))
        if kind == "tool-started":
            self._seen.remember(("tool", call_id, tool), 0)
            if tool and self._seen.is_new("call", call_id):
                call = Call(call_id, tool, data.get("input"))
                yield self.event(chunk, "", "tool_call", self.call(call))
        elif kind == "tool-finished":
            message = read_message(data.get("output"))
            if message is not None and message.kind == "tool":
                yield from self._message(chunk, "", message)
        elif kind == "tool-error" and self._seen.is_new("result", call_id):
            # The error's text may be private; a program that wants it shown writes it.
            failed = {"call_id": call_id, "tool": tool, "result": "error", "ok": False}
            yield self.event(chunk, "", "tool_result", failed)

    # Graphs.

    def _lifecycle(self, chunk: GraphChunk) -> Iterator[Event]:
        data = chunk.data if isinstance(chunk.data, Mapping) else {}
        graph = read_namespace(data.get("namespace"))
        name = as_text(data.get("graph_name"))
        if data.get("event") == "started" and name != _UNNAMED:
            self.places.name(graph, name)
        elif data.get("event") == "failed":
            where = chunk._replace(graph=graph)
            failed = {"message": "the graph failed", "code": "graph_failed"}
            yield self.event(where, "", "error", failed)

    def _values(self, chunk: GraphChunk) -> Iterator[Event]:
        if not chunk.is_event or not isinstance(chunk.data, Mapping):
            return
        is_given = chunk.graph not in self._begun
        self._begun[chunk.graph] = None
        if len(self._begun) > _MAX_OPEN:
            self._begun.popitem(last=False)
        if is_given:
            self.given(chunk, chunk.data)
        else:
            yield from self.state(chunk, "", chunk.data)
