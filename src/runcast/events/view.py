"""What a watcher wants to see of a log: a specification, and the pure function it stands for.

A view takes events in the order of the log and gives the events a watcher sees, in the same order:

- filters by message type, node and agent; an empty `include` lets everything in, `exclude` wins;
- nodes switched off stream nothing: their text is gathered and arrives as one `node_complete`;
- batches: with streaming disabled, runs of deltas arrive joined, `batch_size` at a time;
- repetitions: the same reasoning again in one node, the same question again, are left out;
- verbosity: less of what is said about how, not about what.

Terminal events always pass. Before one, everything gathered is flushed. A derived event carries the
`seq` and `time` of the event that triggered it, and in its data `of: [first, last]`, the events it
stands for.

What a view remembers is a `ViewState`: it depends on the log and the view alone. A watcher who
resumes gets the state at its cursor, and so exactly what an uninterrupted watcher would have got.

Source: ours, for the configuration documented with the `flat` format.
"""

import copy
import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from runcast.events.fields import pick
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, TERMINAL

__all__ = (
    "ALIASES",
    "MAX_GATHERED",
    "MAX_GATHERED_BYTES",
    "MAX_SEEN",
    "Filter",
    "Level",
    "Streaming",
    "Verbosity",
    "View",
    "ViewSpec",
    "ViewState",
)

ALIASES: Final[Mapping[str, str]] = {
    "content_streaming": "content",
    "final_result": "done",
    "processing": "step_progress",
    "interrupt": "interrupt_request",
}
"""Names that other formats have for our types; a specification may use either."""

MAX_GATHERED_BYTES: Final = 256 * 1024
"""Most text gathered for one node and agent before it is sent in parts."""

MAX_GATHERED: Final = 256
"""Most nodes and agents gathered for at once; beyond it, the oldest is flushed."""

MAX_SEEN: Final = 1024
"""Repetitions are looked for among this many of the latest distinct messages."""

Level = Literal["minimal", "normal", "detailed", "full"]

_HIDDEN: Final[Mapping[Level, frozenset[str]]] = {
    "minimal": frozenset({"thinking", "reasoning", "log", "tool_call", "tool_result", "progress"}),
    "normal": frozenset({"thinking"}),
    "detailed": frozenset(),
    "full": frozenset(),
}
"""Types that a level leaves out."""


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names let in and kept out. Empty `include` lets all in; `exclude` wins."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()

    def passes(self, name: str) -> bool:
        """Tell whether a name is let in."""
        return name not in self.exclude and (not self.include or name in self.include)


class Streaming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How text arrives: piece by piece, joined, or per node as one message."""

    enabled: bool = True
    batch_size: Annotated[int, msgspec.Meta(ge=1)] = 10
    max_buffer: Annotated[int, msgspec.Meta(ge=1)] = 100
    nodes: dict[str, bool] = {}
    """Nodes switched on or off; those not named are on."""


class Verbosity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is said about how things are done."""

    level: Level = "detailed"
    show_metadata: bool = True
    show_timing: bool = True
    show_agent_hierarchy: bool = True


class ViewSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A view as it is configured; the default shows everything as it is."""

    messages: Filter = Filter()
    nodes: Filter = Filter()
    """Of events without an agent: those of the main graph."""
    subgraph_nodes: Filter = Filter()
    """Of events with one."""
    agents: Filter = Filter()
    streaming: Streaming = Streaming()
    verbosity: Verbosity = Verbosity()
    dedupe: bool = True

    @property
    def key(self) -> str:
        """What tells this view from others: equal specifications have equal keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    @property
    def is_plain(self) -> bool:
        """Whether it shows everything as it is."""
        return self == ViewSpec()


_Said: TypeAlias = "tuple[_Said, str] | None"
"""Pieces of text, each behind those before it: copies share them, however many there are."""


class _Gathered(msgspec.Struct):
    """Text of one node and agent, on its way to one message. `event` is the first of it."""

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
    """What a view remembers after an event. Bounded; copied before it is changed."""

    __slots__ = ("gathered", "seen")

    def __init__(self) -> None:
        self.gathered: dict[tuple[str, ...], _Gathered] = {}
        self.seen: dict[bytes, None] = {}

    def copy(self) -> "ViewState":
        """Return a state that can be changed without changing this one."""
        copied = ViewState()
        copied.gathered = {key: copy.copy(group) for key, group in self.gathered.items()}
        copied.seen = dict(self.seen)
        return copied


class View:
    """A specification at work. Immutable: everything that changes is in the `ViewState`."""

    def __init__(self, spec: ViewSpec) -> None:
        self.spec = spec
        self.key = spec.key
        self._messages = Filter(_ours(spec.messages.include), _ours(spec.messages.exclude))
        self._hidden = _HIDDEN[spec.verbosity.level] - self._messages.include

    def step(self, state: ViewState, event: Event) -> list[Event]:
        """Return what a watcher sees because of an event, in order; changes the state.

        All but the last event returned are derived; every one of them carries the event's `seq`.
        """
        if event.type in TERMINAL:
            return [*self._flush(state, event, None), self._told(event)]
        if not self._is_wanted(event) or self._is_repeated(state, event):
            return []
        if not self.spec.streaming.nodes.get(event.node, True) and event.type not in _NEVER_HELD:
            return self._gather(state, event)
        if not self.spec.streaming.enabled and event.type in DELTA_TYPES:
            return self._batch(state, event)
        # What was said before in this node must not arrive after it.
        before = [key for key in state.gathered if key[0] == "batch" and key[1] == event.node]
        return [*self._release_all(state, before, event), self._told(event)]

    def _is_wanted(self, event: Event) -> bool:
        spec = self.spec
        nodes = spec.subgraph_nodes if event.agent else spec.nodes
        return (
            self._messages.passes(event.type)
            and event.type not in self._hidden
            and (event.type in _LIFE or not event.node or nodes.passes(event.node))
            and (event.type in _LIFE or not event.agent or spec.agents.passes(event.agent))
        )

    # Repetitions.

    def _is_repeated(self, state: ViewState, event: Event) -> bool:
        if not self.spec.dedupe:
            return False
        meaning = _meaning(event)
        if meaning is None:
            return False
        digest = hashlib.blake2b(meaning, digest_size=16).digest()
        repeated = digest in state.seen
        state.seen.pop(digest, None)
        state.seen[digest] = None
        if len(state.seen) > MAX_SEEN:
            del state.seen[next(iter(state.seen))]
        return repeated

    # Nodes that are switched off.

    def _gather(self, state: ViewState, event: Event) -> list[Event]:
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
        if group.size > MAX_GATHERED_BYTES:
            flushed += self._release(state, key, event)
        return flushed

    def _summary(self, first: Event, trigger: Event, text: str, last: int) -> Event:
        """Return the one message of a node."""
        data: dict[str, object] = {
            "message": text or _message(trigger),
            "aggregated": True,
            "of": [first.seq, last or trigger.seq],
        }
        return self._told(
            Event(
                seq=trigger.seq,
                time=trigger.time,
                type="node_complete",
                data=data,
                node=first.node,
                agent=first.agent,
                path=first.path,
                duration=max(0.0, trigger.time - first.time),
            )
        )

    # Batches.

    def _batch(self, state: ViewState, event: Event) -> list[Event]:
        data = event.data if isinstance(event.data, dict) else {}
        key = ("batch", event.node, event.agent, event.type, str(data.get("message_id", "")))
        group = state.gathered.get(key)
        if group is None:
            group = state.gathered[key] = _Gathered(event, event.seq)
        group.add(_text(event))
        group.last = event.seq
        streaming = self.spec.streaming
        if group.pieces >= streaming.batch_size or group.size > MAX_GATHERED_BYTES:
            return self._release(state, key, event)
        # Not those of nodes that are switched off: they are to arrive as one message.
        batches = [key for key in state.gathered if key[0] == "batch"]
        if sum(state.gathered[key].pieces for key in batches) >= streaming.max_buffer:
            return self._release_all(state, batches, event)
        return []

    def _joined(self, group: _Gathered, trigger: Event) -> Event:
        first = group.event
        if group.pieces == 1 and first.seq == trigger.seq:
            return self._told(first)
        data = {**first.data} if isinstance(first.data, dict) else {}
        if "text" not in data:
            data.pop("content", None)  # its other name, by which it was read
        data.update(text=group.text, of=[first.seq, group.last])
        return self._told(
            msgspec.structs.replace(first, seq=trigger.seq, time=trigger.time, data=data)
        )

    # Letting go.

    def _flush(self, state: ViewState, trigger: Event, node: str | None) -> list[Event]:
        """Let go of what is gathered for a node, or for all."""
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
            return []  # nothing was said, and the node is not over
        return [self._summary(group.event, trigger, group.text, group.last)]

    # What is shown of an event.

    def _told(self, event: Event) -> Event:
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
_NEVER_HELD: Final = _LIFE | _QUESTIONS | {"error"}
"""Shown at once even in a node that is switched off: somebody has to act on them."""

_NODE_ENDS: Final = frozenset({"step_complete", "node_complete"})


def _ours(names: frozenset[str]) -> frozenset[str]:
    ours = frozenset(ALIASES.get(name, name) for name in names)
    # A final result may also be told while the run goes on.
    return ours | {"result"} if "final_result" in names else ours


def _meaning(event: Event) -> bytes | None:
    """Return what two messages have in common if one repeats the other; None if none can.

    Pieces of a streamed text are not messages: a token may well come twice.
    """
    data = event.data if isinstance(event.data, dict) else {}
    text = _text(event)
    if event.type == "reasoning" and text and not {"message_id", "index"} & data.keys():
        return msgspec.json.encode(("reasoning", event.node, event.agent, text))
    if event.type == "interrupt_request" and isinstance(data.get("interrupt_id"), str):
        return msgspec.json.encode(("interrupt", data["interrupt_id"]))
    return None


def _text(event: Event) -> str:
    data = event.data
    text = pick(data, "text", "content") if isinstance(data, dict) else data
    return text if isinstance(text, str) else ""


def _message(event: Event) -> str:
    message = event.data.get("message") if isinstance(event.data, dict) else event.data
    return message if isinstance(message, str) else ""
