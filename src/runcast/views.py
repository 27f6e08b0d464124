"""Views (which events a watcher sees, and which are joined), and view files.

`load_view` reads YAML, gives a `ViewSpec`, and reports every mistake with its line:

    messages:  {include: [step_start, content_streaming], exclude: [thinking]}
    agents:    {include: [research, writing], exclude: [supervisor]}
    nodes:
      main:     {include: [], exclude: []}      # events without an agent
      subgraph: {include: [], exclude: []}      # events of one
    streaming:
      enabled: true
      batch_size: 10                            # pieces joined when streaming is disabled
      max_buffer: 100                           # most pieces that wait, of all nodes
      nodes: {content_creation: false}          # gathered, and sent as one message
    verbosity: {level: detailed, show_metadata: true, show_timing: true, show_agent_hierarchy: true}

Everything is optional. An empty list, or a key without a value, lets everything in.

Source: the configuration documented with the `flat` format.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import yaml

from runcast.errors import InvalidValue
from runcast.events.view import MAX_BATCH, Filter, Streaming, Verbosity, View, ViewSpec, ViewState
from runcast.events.vocabulary import is_event_type

__all__ = ("Streaming", "View", "ViewSpec", "ViewState", "load_view", "parse_view")

_MAX_BYTES: Final = 1024 * 1024
"""Largest view file; a larger one is not a view."""

T = TypeVar("T", Streaming, Verbosity)


def load_view(path: str | Path) -> ViewSpec:
    """Return the view in a file.

    Raises:
        InvalidValue: the file cannot be read or is invalid; the message has the file and the line.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidValue(f"the view {path} cannot be read: {error.strerror}") from error
    if len(text) > _MAX_BYTES:
        raise InvalidValue(f"the view {path} is larger than {_MAX_BYTES} bytes")
    try:
        return parse_view(text.decode(), str(path))
    except UnicodeDecodeError as error:
        raise InvalidValue(f"the view {path} is not UTF-8 text: {error}") from error


def parse_view(text: str, source: str = "view") -> ViewSpec:
    """Return the view in a YAML text. Raises `InvalidValue` like `load_view`."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidValue(f"{source}, line {line}: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidValue(f"{source}, line {line}: {error.problem}") from None
    except RecursionError:
        line = loader.line + 1 if loader is not None else 1
        raise InvalidValue(f"{source}, line {line}: it is nested too deep") from None
    finally:
        if loader is not None:
            loader.dispose()
    return _Reader(source).view(root)


class _Reader:
    """Turns YAML nodes, which know their lines, into values."""

    def __init__(self, source: str) -> None:
        self._source = source

    def view(self, root: yaml.Node | None) -> ViewSpec:
        parts = self._mapping(root, ("messages", "agents", "nodes", "streaming", "verbosity"))
        fields: dict[str, Any] = {}
        if "messages" in parts:
            fields["messages"] = self._filter(parts["messages"], self._type)
        if "agents" in parts:
            fields["agents"] = self._filter(parts["agents"])
        if "nodes" in parts:
            nodes = self._mapping(parts["nodes"], ("main", "subgraph", "include", "exclude"))
            if "main" in nodes or "subgraph" in nodes:
                if "include" in nodes or "exclude" in nodes:
                    problem = "expected main and subgraph, or else include and exclude"
                    raise self._error(parts["nodes"], problem)
                fields["nodes"] = self._filter(nodes.get("main"))
                fields["subgraph_nodes"] = self._filter(nodes.get("subgraph"))
            else:
                fields["nodes"] = fields["subgraph_nodes"] = self._filter(parts["nodes"])
        if "streaming" in parts:
            fields["streaming"] = self._struct(parts["streaming"], Streaming)
        if "verbosity" in parts:
            fields["verbosity"] = self._struct(parts["verbosity"], Verbosity)
        return ViewSpec(**fields)

    def _filter(
        self, node: yaml.Node | None, read: Callable[[yaml.Node], str] | None = None
    ) -> Filter:
        parts = self._mapping(node, ("include", "exclude"))
        return Filter(**{key: self._names(part, read or self._text) for key, part in parts.items()})

    def _names(self, node: yaml.Node, read: Callable[[yaml.Node], str]) -> frozenset[str]:
        if isinstance(node, yaml.SequenceNode):
            return frozenset(map(read, node.value))
        return frozenset() if self._is_empty(node) else frozenset((read(node),))

    def _type(self, node: yaml.Node) -> str:
        text = self._text(node)
        if not is_event_type(text):
            raise self._error(node, f"expected an event type like 'content', got {text[:80]!r}")
        return text

    def _struct(self, node: yaml.Node, kind: type[T]) -> T:
        parts = self._mapping(node, kind.__struct_fields__)
        values: dict[str, Any] = {}
        for name, part in parts.items():
            if self._is_empty(part):
                continue  # a key without a value: the default
            values[name] = self._value(name, part)
            try:
                msgspec.convert({name: values[name]}, kind)
            except msgspec.ValidationError:
                expected = _expected(get_type_hints(kind)[name])
                raise self._error(part, f"{name}: expected {expected}") from None
        return msgspec.convert(values, kind)

    def _value(self, name: str, node: yaml.Node) -> Any:
        """Return a scalar, or a mapping of scalars: settings are not nested deeper."""
        if not isinstance(node, yaml.MappingNode):
            return self._scalar(name, node)
        parts = self._mapping(node, ())
        return {key: self._scalar(f"{name}.{key}", part) for key, part in parts.items()}

    def _scalar(self, name: str, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
            raise self._error(node, f"{name}: expected no {kind}")
        if node.style is not None:
            return node.value
        try:
            return yaml.safe_load(node.value)
        except (ValueError, yaml.YAMLError):  # for example, an impossible date
            return node.value

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or self._is_empty(node):
            raise self._error(node, "expected a name")
        return str(node.value)

    def _is_empty(self, node: yaml.Node | None) -> bool:
        return node is None or node.tag == "tag:yaml.org,2002:null"

    def _mapping(self, node: yaml.Node | None, known: tuple[str, ...]) -> dict[str, yaml.Node]:
        """Return a mapping's values by key; an absent or empty node is an empty mapping."""
        if node is None or self._is_empty(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"expected a mapping with {', '.join(known)}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key)
            if known and name not in known:
                raise self._error(key, f"expected one of {', '.join(known)}; got {name!r:.80}")
            if name in found:
                raise self._error(key, f"{name!r:.80} is there twice")
            found[name] = value
        return found

    def _error(self, node: yaml.Node, problem: str) -> InvalidValue:
        return InvalidValue(f"{self._source}, line {node.start_mark.line + 1}: {problem}")


def _expected(hint: Any) -> str:
    """Describe the allowed values of a setting of this type."""
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    if hint is int:
        return f"a whole number from 1 to {MAX_BATCH}"
    return "true or false" if hint is bool else "true or false for each"
