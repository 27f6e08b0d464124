"""A graph's stream as events, each once: pure data in, events out.

With subgraphs the same things come several times: an interrupt from the subgraph and from the root,
a model's message as tokens, then whole, then whole again from each graph above. They are told once.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from runcast import Event
from runcast._wire.dialects.base import flatten
from runcast.compat.writer.chunks import Asked, GraphChunk, Message, read_interrupts, read_message
from runcast.compat.writer.flat_messages import event_of, is_message
from runcast.compat.writer.texts import Texts
from runcast.events.fields import as_text

__all__ = ("GraphReader",)

_MAX_SEEN: Final = 4096
"""Messages, calls and questions remembered, to tell each once."""


class _Seen:
    """What was seen lately."""

    def __init__(self) -> None:
        self._keys: OrderedDict[object, int] = OrderedDict()

    def is_new(self, *key: object) -> bool:
        """Tell whether this was not seen before; now it was."""
        known = key in self._keys
        self.remember(key, 0)
        return not known

    def depth(self, key: object) -> int | None:
        """Return how deep in the graphs something was seen last."""
        return self._keys.get(key)

    def remember(self, key: object, depth: int) -> None:
        """Keep something, and let go of what was seen longest ago."""
        self._keys.pop(key, None)
        self._keys[key] = depth
        if len(self._keys) > _MAX_SEEN:
            self._keys.popitem(last=False)


class GraphReader:
    """Reads one stream, chunk by chunk."""

    def __init__(self, node: str = "", agent: str = "", texts: Texts | None = None) -> None:
        self._node = node
        self._agent = agent
        self._texts = texts or Texts()
        self._seen = _Seen()
        self._spoken: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._readers: dict[str, Callable[[GraphChunk], Iterator[Event]]] = {
            "custom": self._custom,
            "messages": self._tokens,
            "updates": self._updates,
        }
        self.progress: float = 0.0
        """The last progress told, percent."""
        self.sections = self.findings = 0
        self.report = ""
        """The final report, if the graph has made one."""

    def reads(self, chunk: GraphChunk) -> bool:
        """Tell whether chunks of this mode say something."""
        return chunk.mode in self._readers

    def read(self, chunk: GraphChunk) -> list[Event]:
        """Return the events a chunk stands for, but for its questions."""
        reader = self._readers.get(chunk.mode)
        return list(reader(chunk)) if reader is not None else []

    def questions(self, chunk: GraphChunk) -> tuple[list[Asked], list[Asked]]:
        """Return the questions of a chunk: those that are new, and those told before."""
        found: list[Asked] = []
        data = chunk.data if chunk.mode in ("updates", "values") else None
        if isinstance(data, Mapping) and "__interrupt__" in data:
            found = read_interrupts(data["__interrupt__"])
        new = [asked for asked in found if self._seen.is_new("asked", asked.interrupt_id)]
        return new, [asked for asked in found if asked not in new]

    def question(self, chunk: GraphChunk, asked: Asked) -> Event:
        """Return the event that asks a question."""
        data = {"interrupt_id": asked.interrupt_id, "action": asked.action, "args": asked.args}
        data["message"] = asked.description
        if asked.config:
            data["config"] = dict(asked.config)
        return self.event(chunk, "", "interrupt_request", data)

    def event(self, chunk: GraphChunk, node: str, type: str, data: object) -> Event:  # noqa: A002
        """Return an event that happened where a chunk comes from."""
        names = chunk.names
        agent = names[-1] if names else self._agent
        return Event(type=type, data=data, node=node or self._node, agent=agent, path=names[:-1])

    # What the graph's own code wrote.

    def _custom(self, chunk: GraphChunk) -> Iterator[Event]:
        data = chunk.data
        agent = chunk.names[-1] if chunk.names else self._agent
        if not is_message(data):
            yield self.event(chunk, "", "custom", data)
            return
        event = event_of(data, self._node, agent, chunk.names[:-1])
        if event.type == "step_progress" and isinstance(event.data.get("percent"), int | float):
            self.progress = event.data["percent"]
        yield event

    # Tokens.

    def _tokens(self, chunk: GraphChunk) -> Iterator[Event]:
        parts = chunk.data if isinstance(chunk.data, tuple | list) else (chunk.data, {})
        metadata = parts[1] if len(parts) > 1 and isinstance(parts[1], Mapping) else {}
        node = as_text(metadata.get("langgraph_node"))
        message = read_message(parts[0]) if parts else None
        if message is None or message.kind == "other":
            return
        if not message.is_part:
            yield from self._message(chunk, node, message)
            return
        if message.thought:
            self._spoke(chunk, node, message, "thought", message.thought)
            yield self.event(chunk, node, "thinking", {"text": message.thought})
        if message.text:
            self._spoke(chunk, node, message, "text", message.text)
            yield self.event(chunk, node, "content", _piece(message))

    def _spoke(self, chunk: GraphChunk, node: str, message: Message, what: str, text: str) -> None:
        key = _key_of(chunk, node, message, what)
        digest = self._spoken.pop(key, None) or hashlib.blake2b(digest_size=16)
        digest.update(text.encode("utf-8", "replace"))
        self._spoken[key] = digest
        if len(self._spoken) > _MAX_SEEN:
            self._spoken.popitem(last=False)

    def _was_spoken(
        self, chunk: GraphChunk, node: str, message: Message, what: str, text: str
    ) -> bool:
        """Tell whether a whole text came as tokens before."""
        digest = self._spoken.pop(_key_of(chunk, node, message, what), None)
        if digest is None:
            return False
        return bool(message.message_id) or digest.digest() == _digest(text)

    # What the nodes returned.

    def _updates(self, chunk: GraphChunk) -> Iterator[Event]:
        if not isinstance(chunk.data, Mapping):
            return
        for node, update in chunk.data.items():
            if node == "__interrupt__":
                continue
            for state in update if isinstance(update, tuple | list) else (update,):
                if isinstance(state, Mapping):
                    yield from self._state(chunk, str(node), state)

    def _state(self, chunk: GraphChunk, node: str, state: Mapping[str, Any]) -> Iterator[Event]:
        messages = state.get("messages")
        for one in messages if isinstance(messages, tuple | list) else [messages]:
            message = read_message(one)
            if message is not None:
                yield from self._message(chunk, node, message)
        for title, section in _titled(state.get("sections")):
            text = as_text(section.get("content"))
            if self._seen.is_new("section", title, _digest(text)):
                self.sections += 1
                told: dict[str, object] = {"section_title": title}
                told["message"] = self._texts.section_complete.format(title=title)
                told["word_count"] = section.get("word_count", len(text))
                yield self.event(chunk, node, "content_complete", told)
        for title, found in _titled(state.get("research_results")):
            if self._seen.is_new("found", title, _digest(as_text(found.get("content")))):
                self.findings += 1
                told = {"percent": self.progress, "research_title": title}
                told["message"] = self._texts.research_found.format(title=title)
                yield self.event(chunk, node, "step_progress", told)
        report = state.get("final_report")
        if isinstance(report, str) and report and self._seen.is_new("report", _digest(report)):
            self.report = report
            yield self.event(chunk, node, "content_complete", {"message": report})

    def _message(self, chunk: GraphChunk, node: str, message: Message) -> Iterator[Event]:
        if message.kind == "other" or self._is_repeated(chunk, message):
            return
        if message.kind == "tool":
            told: dict[str, object] = {"tool": message.tool}
            told |= {"result": message.text, "length": len(message.text)}
            if message.call_id:
                told["call_id"] = message.call_id
            yield self.event(chunk, node, "tool_result", told)
            return
        was_thought = self._was_spoken(chunk, node, message, "thought", message.thought)
        if message.thought and not was_thought:
            yield self.event(chunk, node, "thinking", {"text": message.thought})
        was_spoken = self._was_spoken(chunk, node, message, "text", message.text)
        if message.text and not was_spoken:
            if message.calls:
                yield self.event(chunk, node, "thinking", {"text": message.text})
            else:
                yield self.event(chunk, node, "content", _piece(message))
        for call in message.calls:
            text = self._texts.tool_call.format(tool_name=call.tool)
            data: dict[str, object] = {"tool": call.tool}
            if call.call_id:
                data["call_id"] = call.call_id
            flatten(data, {"args": {} if call.args is None else call.args, "message": text})
            yield self.event(chunk, node, "tool_call", data)

    def _is_repeated(self, chunk: GraphChunk, message: Message) -> bool:
        """Tell whether a graph above gives a message again that a graph below gave."""
        if message.kind == "tool" and message.call_id:
            return not self._seen.is_new("result", message.call_id)
        if message.message_id:
            return not self._seen.is_new("message", message.message_id)
        # Without an id the same words may be said twice, but not lower and then higher up.
        key = ("words", message.kind, _digest(message.text), str(message.calls))
        depth, here = self._seen.depth(key), len(chunk.names)
        if depth is not None and here < depth:
            self._seen.remember(key, here)
            return True
        self._seen.remember(key, here)
        return False


def _key_of(chunk: GraphChunk, node: str, message: Message, what: str) -> tuple[str, ...]:
    """Return what tells a message's text from others: its id, or else where it was said."""
    return (message.message_id, what) if message.message_id else (*chunk.names, node, "", what)


def _piece(message: Message) -> dict[str, str]:
    piece = {"text": message.text}
    return {**piece, "message_id": message.message_id} if message.message_id else piece


def _titled(items: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in items if isinstance(items, tuple | list) else ():
        if isinstance(item, Mapping) and item.get("title"):
            yield as_text(item["title"]), item


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
