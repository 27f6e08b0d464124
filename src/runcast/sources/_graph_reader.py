"""A graph's stream as events: pure data in, events out. No graph library is imported.

With subgraphs the same item comes several times: an interrupt from the subgraph and from the root;
a model's message as tokens, then whole, then again from each graph above. The reader yields each
item once.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from runcast.events.model import Event
from runcast.events.vocabulary import as_text
from runcast.sources._graph_chunks import (
    Asked,
    Call,
    GraphChunk,
    Message,
    read_interrupts,
    read_message,
    read_usage,
)
from runcast.sources._graph_places import AGENT_KEY, GraphPlaces

__all__ = ("ChunkReader", "SeenKeys", "digest_of")

_MAX_SEEN: Final = 4096
"""Most messages, calls and questions that are remembered, so that each is yielded once."""


_MAX_LOOKED: Final = 32
"""Most texts among which one is looked for whose message has changed its id."""


class SeenKeys:
    """Keys that were seen lately, at most `_MAX_SEEN`."""

    def __init__(self) -> None:
        self._keys: OrderedDict[object, int] = OrderedDict()

    def is_new(self, *key: object) -> bool:
        """Return whether a key is new, and remember it."""
        known = key in self._keys
        self.remember(key, 0)
        return not known

    def depth(self, key: object) -> int | None:
        """Return the depth of the graph in which a key was seen last; None if it was never seen."""
        return self._keys.get(key)

    def forget(self, key: object) -> bool:
        """Forget a key; return whether it was known."""
        return self._keys.pop(key, None) is not None

    def remember(self, key: object, depth: int) -> None:
        """Remember a key, and forget the oldest one."""
        self._keys.pop(key, None)
        self._keys[key] = depth
        if len(self._keys) > _MAX_SEEN:
            self._keys.popitem(last=False)


class _Spoken(NamedTuple):
    """A text that came as tokens: its place, and the digest of what came so far."""

    place: tuple[str, ...]
    digest: Any


class ChunkReader:
    """Reads one stream, chunk by chunk.

    A subclass knows the state of its own graphs: it overrides `custom`, `state`, `given` and
    `call`.

    Args:
        node, agent: the origin of events whose chunk names none.
    """

    def __init__(self, node: str = "", agent: str = "") -> None:
        self._node = node
        self._agent = agent
        self._seen = SeenKeys()
        self.places = GraphPlaces()
        self._spoken: OrderedDict[tuple[str, ...], _Spoken] = OrderedDict()
        self._readers: dict[str, Callable[[GraphChunk], Iterator[Event]]] = {
            "custom": self.custom,
            "messages": self._tokens,
            "updates": self._updates,
        }

    def reads(self, chunk: GraphChunk) -> bool:
        """Return whether chunks of this mode can become events."""
        return chunk.mode in self._readers

    def read(self, chunk: GraphChunk) -> list[Event]:
        """Return the events of a chunk, without its questions."""
        reader = self._readers.get(chunk.mode)
        return list(reader(chunk)) if reader is not None else []

    def questions(self, chunk: GraphChunk) -> tuple[list[Asked], list[Asked]]:
        """Return the questions of a chunk: first the new ones, then those returned before."""
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
        agents = self.agents(chunk)
        agent, path = (agents[-1], agents[:-1]) if agents else (self._agent, ())
        return Event(type=type, data=data, node=node or self._node, agent=agent, path=path)

    def agents(self, chunk: GraphChunk) -> tuple[str, ...]:
        """Return the agents from which a chunk comes, outermost first."""
        return self.places.agents(chunk.graph)

    def place_in(self, chunk: GraphChunk, metadata: Mapping[str, Any]) -> None:
        """Note the agent that the metadata of a message names."""
        self.places.name(chunk.graph, as_text(metadata.get(AGENT_KEY)))

    def usage(self, chunk: GraphChunk, node: str, model: str, usage: object) -> Iterator[Event]:
        """Yield the event of a usage, if it is one."""
        read = read_usage(usage)
        if read is not None:
            data: dict[str, object] = {"model": model or "unknown"}
            data |= {name: n for name, n in read._asdict().items() if n is not None}
            yield self.event(chunk, node, "usage", data)

    # Hooks for a graph's own code.

    def custom(self, chunk: GraphChunk) -> Iterator[Event]:
        """Yield the events that a node wrote itself."""
        yield self.event(chunk, "", "custom", chunk.data)

    def state(self, chunk: GraphChunk, node: str, state: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of an update of the graph's state."""
        messages = state.get("messages")
        for one in messages if isinstance(messages, tuple | list) else [messages]:
            message = read_message(one)
            if message is not None:
                yield from self._message(chunk, node, message)

    def given(self, chunk: GraphChunk, state: Mapping[str, Any]) -> None:
        """Note the state that a graph begins with: its messages are not new."""
        messages = state.get("messages")
        for one in messages if isinstance(messages, tuple | list) else ():
            message = read_message(one)
            if message is not None:
                self._is_repeated(chunk, message)

    def call(self, call: Call) -> dict[str, object]:
        """Return the data of a `tool_call` event."""
        data: dict[str, object] = {"tool": call.tool}
        if call.call_id:
            data["call_id"] = call.call_id
        data["args"] = {} if call.args is None else call.args
        return data

    # Tokens.

    def _tokens(self, chunk: GraphChunk) -> Iterator[Event]:
        parts = chunk.data if isinstance(chunk.data, tuple | list) else (chunk.data, {})
        metadata = parts[1] if len(parts) > 1 and isinstance(parts[1], Mapping) else {}
        node = as_text(metadata.get("langgraph_node"))
        message = read_message(parts[0]) if parts else None
        if message is None or message.kind == "other":
            return
        if not message.is_part:
            yield from self._message(chunk, node, message, metadata)
            return
        if message.thought:
            self._spoke(chunk, node, message, "thought", message.thought)
            yield self.event(chunk, node, "thinking", {"text": message.thought})
        if message.text:
            self._spoke(chunk, node, message, "text", message.text)
            yield self.event(chunk, node, "content", _piece(message))
        if message.usage is not None:
            # Each chunk has what was used since the one before.
            self._seen.remember(("usage", message.message_id), 0)
            model = message.model or as_text(metadata.get("ls_model_name"))
            yield from self.usage(chunk, node, model, message.usage)

    def _spoke(self, chunk: GraphChunk, node: str, message: Message, what: str, text: str) -> None:
        key = _key_of(chunk, node, message, what)
        known = self._spoken.pop(key, None)
        digest = known.digest if known is not None else hashlib.blake2b(digest_size=16)
        digest.update(text.encode("utf-8", "replace"))
        self._spoken[key] = _Spoken((*chunk.graph, node, what), digest)
        if len(self._spoken) > _MAX_SEEN:
            self._spoken.popitem(last=False)

    def _was_spoken(
        self, chunk: GraphChunk, node: str, message: Message, what: str, text: str
    ) -> bool:
        """Return whether a whole text came as tokens before."""
        if not text:
            return False
        spoken = self._spoken.pop(_key_of(chunk, node, message, what), None)
        if spoken is not None:
            return bool(message.message_id) or spoken.digest.digest() == digest_of(text)
        # A message may get its final id at its end. Then it has the text and the place of tokens.
        place, said = (*chunk.graph, node, what), digest_of(text)
        for key, one in list(islice(reversed(self._spoken.items()), _MAX_LOOKED)):
            if one.place == place and one.digest.digest() == said:
                del self._spoken[key]
                return True
        return False

    # Results of nodes.

    def _updates(self, chunk: GraphChunk) -> Iterator[Event]:
        if not isinstance(chunk.data, Mapping):
            return
        for node, update in chunk.data.items():
            if node == "__interrupt__":
                continue
            for state in update if isinstance(update, tuple | list) else (update,):
                if isinstance(state, Mapping):
                    yield from self.state(chunk, str(node), state)

    def _message(
        self,
        chunk: GraphChunk,
        node: str,
        message: Message,
        metadata: Mapping[str, Any] | None = None,
    ) -> Iterator[Event]:
        if message.kind == "other" or self._is_repeated(chunk, message):
            return
        if message.kind == "tool":
            result: dict[str, object] = {"tool": message.tool}
            result |= {"result": message.text, "length": len(message.text)}
            if message.call_id:
                result["call_id"] = message.call_id
            if message.ok is False:
                result["ok"] = False
            yield self.event(chunk, node, "tool_result", result)
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
            if not call.call_id or self._seen.is_new("call", call.call_id):
                yield self.event(chunk, node, "tool_call", self.call(call))
        if message.usage is not None and self._seen.is_new("usage", message.message_id):
            model = message.model or as_text((metadata or {}).get("ls_model_name"))
            yield from self.usage(chunk, node, model, message.usage)

    def _is_repeated(self, chunk: GraphChunk, message: Message) -> bool:
        """Return whether a graph above repeats a message of a graph below."""
        if message.kind == "tool" and message.call_id:
            return not self._seen.is_new("result", message.call_id)
        if message.message_id:
            return not self._seen.is_new("message", message.message_id)
        # Without an id, equal texts may come twice in one graph, but not in a graph and one above.
        key = ("words", message.kind, digest_of(message.text), str(message.calls))
        depth, here = self._seen.depth(key), len(chunk.names)
        if depth is not None and here < depth:
            self._seen.remember(key, here)
            return True
        self._seen.remember(key, here)
        return False


def _key_of(chunk: GraphChunk, node: str, message: Message, what: str) -> tuple[str, ...]:
    """Return the key of a message's text: the message's id, or its place in the graphs."""
    return (message.message_id, what) if message.message_id else (*chunk.names, node, "", what)


def _piece(message: Message) -> dict[str, str]:
    piece = {"text": message.text}
    return {**piece, "message_id": message.message_id} if message.message_id else piece


def digest_of(text: str) -> bytes:
    """Return a short digest of a text, to compare it without keeping it."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
