"""Views of a log: a specification of what a watcher sees, and its pure function.

A view takes the events of a log in order, and returns the events that a watcher sees, in the same
order:

- Filters by message type, node and agent. An empty `include` lets everything in; `exclude` wins.
- Nodes that are switched off stream nothing. Their text is gathered into one `node_complete`.
- Batches: with streaming disabled, deltas arrive joined, `batch_size` at a time.
- Repetitions are left out: the same reasoning again in one node, or the same question again
  while that question is open.
- Verbosity: fewer details of how the work goes, never less of its content.

Terminal events always pass. Before a terminal event, all gathered text is flushed. A derived event
has the `seq` and `time` of the event that triggered it. Its data has `of: [first, last]`, the
events that it stands for.

A `ViewState` is the memory of a view. It depends only on the log and the view. A watcher that
resumes gets the state at its cursor, and so the same events as an uninterrupted watcher.

Source: ours, for the configuration documented with the `flat` format.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from runcast.events.model import Event
from runcast.events.repetition import Seen
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL, pick

__all__ = (
    "ALIASES",
    "MAX_BATCH",
    "MAX_GATHERED",
    "MAX_GATHERED_CHARS",
    "Filter",
    "Level",
    "Streaming",
    "Verbosity",
    "View",
    "ViewSpec",
    "ViewState",
)

ALIASES: Final[Mapping[str, frozenset[str]]] = {
    "content_streaming": frozenset({"content"}),
    "final_result": frozenset({"done", "result"}),  # `result` may also come while the run goes on
    "processing": frozenset({"step_start", "step_progress", "step_complete", "node_complete"}),
    "interrupt": frozenset({"interrupt_request", "interrupt_waiting"}),
}
"""Other formats' names for our types; a specification may use either."""

MAX_BATCH: Final = 10_000
"""Largest batch, and most pieces that may wait for a batch."""

MAX_GATHERED_CHARS: Final = 256 * 1024
"""Most characters gathered for one node and agent before they are sent in parts."""

MAX_GATHERED: Final = 256
"""Most nodes and agents gathered for at once; beyond this number, the oldest is flushed."""

Level = Literal["minimal", "normal", "detailed", "full"]

_HIDDEN: Final[Mapping[Level, frozenset[str]]] = {
    "minimal": frozenset(
        {"thinking", "reasoning", "log", "tool_call", "tool_call_delta", "tool_result", "progress"}
    ),
    "normal": frozenset({"thinking", "tool_call_delta"}),
    "detailed": frozenset(),
    "full": frozenset(),
}
"""Types that each level leaves out."""


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names let in and kept out. An empty `include` lets all names in; `exclude` wins."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()

    def passes(self, name: str) -> bool:
        """Return whether a name is let in."""
        return name not in self.exclude and (not self.include or name in self.include)


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How text arrives: piece by piece, joined, or per node as one message."""

    enabled: bool = True
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)] = 10
    max_buffer: Annotated[int, msgspec.Meta(ge=1, le=MAX_BATCH)] = 100
    nodes: dict[str, bool] = {}
    """Nodes switched on or off; nodes not named are on."""


class Verbosity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much detail of the work is shown."""

    level: Level = "detailed"
    show_metadata: bool = True
    show_timing: bool = True
    show_agent_hierarchy: bool = True


class ViewSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view's configuration; the default shows every event unchanged."""

    messages: Filter = Filter()
    nodes: Filter = Filter()
    """For events without an agent: events of the main graph."""
    subgraph_nodes: Filter = Filter()
    """For events with an agent."""
    agents: Filter = Filter()
    streaming: Streaming = Streaming()
    verbosity: Verbosity = Verbosity()
    dedupe: bool = True

    @property
    def key(self) -> str:
        """The view's key: equal specifications have equal keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    @property
    def is_plain(self) -> bool:
        """Whether the view shows every event unchanged."""
        return self == ViewSpec()


_Said: TypeAlias = "tuple[_Said, str] | None"
"""Pieces of text as a linked list, the last piece first: copies share the pieces."""


class _Gathered(msgspec.Struct):
    """Gathered text of one node and agent. `event` is its first event."""

    event: Event
    last: int
    said: _Said = None
    pieces: int = 0
    size: int = 0

    def add(self, text: str) -> None:
        self.said = (self.said, text)
        self.pieces += 1
        self.size += len(text)

    @property
    def text(self) -> str:
        pieces, said = [], self.said
        while said is not None:
            said, piece = said
            pieces.append(piece)
        return "".join(reversed(pieces))


class ViewState:
    """The memory of a view after an event. Bounded; copied before it is changed.

    Args:
        since: the `seq` after which the view began; above 0 if earlier events are gone.
    """

    __slots__ = ("gathered", "seen", "since")

    def __init__(self, since: int = 0) -> None:
        self.since = since
        self.gathered: dict[tuple[str, ...], _Gathered] = {}
        self.seen = Seen()

    def copy(self) -> "ViewState":
        """Return an independent copy."""
        copied = ViewState(self.since)
        copied.gathered = {key: copy.copy(group) for key, group in self.gathered.items()}
        copied.seen = self.seen.copy()
        return copied

    @property
    def size(self) -> int:
        """Characters gathered."""
        return sum(group.size for group in self.gathered.values())


class View:
    """The function of a specification. Immutable: all that changes is in the `ViewState`."""

    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec
        self.key = spec.key
        self._messages = Filter(_ours(spec.messages.include), _ours(spec.messages.exclude))
        self._hidden = _HIDDEN[spec.verbosity.level] - self._messages.include

    def step(self, state: ViewState, event: Event) -> list[Event]:
        """Return what a watcher sees because of an event, in order. Changes the state.

        All returned events except the last are derived. Each has the `seq` of `event`.
        """
        if event.type in TERMINAL:
            return [*self._flush(state, event, None), self._visible(event)]
        if event.type == "started":
            # The text of an attempt that is over must not be joined with that of the next one.
            is_shown = self._is_of_wanted_type(event)
            return [*self._flush(state, event, None), *([self._visible(event)] if is_shown else [])]
        state.seen.close_question(event)
        if not self._is_of_wanted_place(event):
            return []
        if not self._is_of_wanted_type(event):
            # An event that is left out still marks where a node begins or ends.
            return self._flush(state, event, event.node) if event.type in _BOUNDS else []
        if self.spec.dedupe and state.seen.is_repetition(event):
            return []
        if not self.spec.streaming.nodes.get(event.node, True) and event.type not in _NEVER_HELD:
            return self._gather(state, event)
        if not self.spec.streaming.enabled and event.type in DELTA_TYPES:
            return self._batch(state, event)
        # Earlier text of this node must not arrive after this event.
        before = [key for key in state.gathered if key[0] == "batch" and key[1] == event.node]
        return [*self._release_all(state, before, event), self._visible(event)]

    def _is_of_wanted_type(self, event: Event) -> bool:
        return self._messages.passes(event.type) and event.type not in self._hidden

    def _is_of_wanted_place(self, event: Event) -> bool:
        if event.type in _LIFE:
            return True
        nodes = self.spec.subgraph_nodes if event.agent else self.spec.nodes
        return (not event.node or nodes.passes(event.node)) and (
            not event.agent or self.spec.agents.passes(event.agent)
        )

    # Nodes that are switched off.

    def _gather(self, state: ViewState, event: Event) -> list[Event]:
        if "node_complete" in self._messages.exclude:
            return []  # its `node_complete` is not wanted either
        if event.type in _NODE_ENDS:
            return self._flush(state, event, event.node) or [self._summary(event, event, "", 0)]
        flushed: list[Event] = []
        if event.type == "step_start":
            flushed = self._flush(state, event, event.node)
        text = _text(event) if event.type == "content" else ""
        key = ("node", event.node, event.agent)
        group = state.gathered.get(key)
        if group is None:
            if len(state.gathered) >= MAX_GATHERED:
                flushed += self._release(state, next(iter(state.gathered)), event)
            group = state.gathered[key] = _Gathered(event, event.seq)
        group.last = event.seq
        if text:
            group.add(text)
        if group.size > MAX_GATHERED_CHARS:
            flushed += self._release(state, key, event)
        return flushed

    def _summary(self, first: Event, trigger: Event, text: str, last: int) -> Event:
        """Return a node's `node_complete`."""
        data: dict[str, object] = {
            "message": text or _message(trigger),
            "aggregated": True,
            "of": [first.seq, last or trigger.seq],
        }
        duration = max(0.0, trigger.time - first.time)
        is_of_one = (trigger.node, trigger.agent) == (first.node, first.agent)
        if trigger.type in _NODE_ENDS and is_of_one and trigger.duration is not None:
            duration = trigger.duration  # measured by the producer
        return self._visible(
            Event(
                seq=trigger.seq,
                time=trigger.time,
                type="node_complete",
                data=data,
                node=first.node,
                agent=first.agent,
                path=first.path,
                duration=duration,
            )
        )

    # Batches.

    def _batch(self, state: ViewState, event: Event) -> list[Event]:
        place, text = (event.node, event.agent), (event.type, *_text_key(event.data))
        # Text of nodes that are switched off is left alone: it arrives as one message.
        batches = [key for key in state.gathered if key[0] == "batch"]
        # Text of another type came between two pieces, and must not arrive after both.
        # Text of an earlier attempt must not arrive after the text that replaces it.
        others = [key for key in batches if key[1:3] == place and _comes_before(key[3:], text)]
        shown = self._release_all(state, others, event)
        key = ("batch", *place, *text)
        group = state.gathered.get(key)
        if group is None:
            group = state.gathered[key] = _Gathered(event, event.seq)
        group.add(_text(event))
        group.last = event.seq
        streaming = self.spec.streaming
        if group.pieces >= streaming.batch_size or group.size > MAX_GATHERED_CHARS:
            return [*shown, *self._release(state, key, event)]
        batches = [key for key in state.gathered if key[0] == "batch"]
        if sum(state.gathered[key].pieces for key in batches) >= streaming.max_buffer:
            shown += self._release_all(state, batches, event)
        return shown

    def _joined(self, group: _Gathered, trigger: Event) -> Event:
        first = group.event
        if group.pieces == 1 and first.seq == trigger.seq:
            return self._visible(first)
        data = {**first.data} if isinstance(first.data, dict) else {}
        if "text" not in data:
            data.pop("content", None)  # the text's other name
        data.update(text=group.text, of=[first.seq, group.last])
        return self._visible(
            msgspec.structs.replace(first, seq=trigger.seq, time=trigger.time, data=data)
        )

    # Flushing.

    def _flush(self, state: ViewState, trigger: Event, node: str | None) -> list[Event]:
        """Flush what is gathered for a node, or for all nodes."""
        keys = [key for key in state.gathered if node is None or key[1] == node]
        return self._release_all(state, keys, trigger)

    def _release_all(
        self, state: ViewState, keys: list[tuple[str, ...]], trigger: Event
    ) -> list[Event]:
        return [event for key in keys for event in self._release(state, key, trigger)]

    def _release(self, state: ViewState, key: tuple[str, ...], trigger: Event) -> list[Event]:
        group = state.gathered.pop(key)
        if key[0] == "batch":
            return [self._joined(group, trigger)]
        ends = trigger.type in _NODE_ENDS and trigger.node == group.event.node
        if not group.pieces and not ends:
            return []  # no text, and the node has not ended
        return [self._summary(group.event, trigger, group.text, group.last)]

    # What a watcher sees of one event.

    def _visible(self, event: Event) -> Event:
        verbosity = self.spec.verbosity
        changes: dict[str, object] = {}
        if not verbosity.show_agent_hierarchy and event.path:
            changes["path"] = ()
        if not verbosity.show_timing and event.duration is not None:
            changes["duration"] = None
        if (
            not verbosity.show_metadata
            and isinstance(event.data, dict)
            and "metadata" in event.data
        ):
            changes["data"] = {k: v for k, v in event.data.items() if k != "metadata"}
        return msgspec.structs.replace(event, **changes) if changes else event


_LIFE: Final = TERMINAL | {"started"}
_QUESTIONS: Final = frozenset(
    {"interrupt_request", "interrupt_waiting", "interrupt_response", "interrupt_resolved"}
)
_NEVER_HELD: Final = _LIFE | _QUESTIONS | {"error", "result"}
"""Shown at once even in a node that is switched off. Somebody has to act on them, and a run's
result is not part of a node's text."""

_NODE_ENDS: Final = frozenset({"step_complete", "node_complete"})
_BOUNDS: Final = _NODE_ENDS | {"step_start"}


def _ours(names: frozenset[str]) -> frozenset[str]:
    return names.union(*(ALIASES.get(name, ()) for name in names))


def _text(event: Event) -> str:
    data = event.data
    text = pick(data, "text", "content") if isinstance(data, dict) else data
    return text if isinstance(text, str) else ""


def _text_key(data: object) -> tuple[str, str]:
    """Return which text a piece belongs to, and which attempt at it."""
    if not isinstance(data, dict):
        return "", ""
    text = data.get("call_id" if "message_id" not in data else "message_id", "")
    return str(text), str(data.get("attempt", ""))


def _comes_before(gathered: tuple[str, ...], text: tuple[str, ...]) -> bool:
    kind, text_id, attempt = gathered
    return kind != text[0] or (text_id == text[1] and attempt != text[2])


def _message(event: Event) -> str:
    message = event.data.get("message") if isinstance(event.data, dict) else event.data
    return message if isinstance(message, str) else ""
