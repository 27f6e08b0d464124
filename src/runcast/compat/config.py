"""What a `StreamWriter` shows, as its users configure it: a YAML file, a mapping or a view."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec.structs

from runcast.events.view import ViewSpec
from runcast.runs.view_file import load_view, parse_view
from runcast.wire.dialects.base import encode_json

__all__ = ("Config", "StreamConfig", "spec_of")


class StreamConfig:
    """A configuration that can be read again and changed while it is in use.

    Args:
        source: a YAML file; a mapping of the same shape; a `ViewSpec`; None shows everything. A
            file that is not there shows everything, too.

    Raises:
        InvalidValue: it cannot be understood; the message has the line.
    """

    def __init__(self, source: "str | Path | Mapping[str, Any] | ViewSpec | None" = None) -> None:
        self._source = source
        self._switched: dict[str, bool] = {}
        self.spec = _read(source)
        """The view that the configuration stands for, now."""

    def reload(self) -> None:
        """Read the file again; nodes switched by `set_node_streaming` stay so."""
        self.spec = _read(self._source)
        for node, is_on in self._switched.items():
            self._switch(node, is_on)

    def set_node_streaming(self, node: str, is_on: bool) -> None:
        """Have a node stream, or be shown as one message once it is over."""
        self._switched[node] = is_on
        self._switch(node, is_on)

    def _switch(self, node: str, is_on: bool) -> None:
        streaming = self.spec.streaming
        switched = msgspec.structs.replace(streaming, nodes={**streaming.nodes, node: is_on})
        self.spec = msgspec.structs.replace(self.spec, streaming=switched)


Config = StreamConfig | ViewSpec | Mapping[str, Any] | str | Path | None
"""Whatever a configuration may be given as."""

_EVERYTHING: Final = ViewSpec()


def spec_of(config: Config) -> ViewSpec:
    """Return the view that a configuration stands for at present."""
    if config is None:
        return _EVERYTHING
    return config.spec if isinstance(config, StreamConfig) else _read(config)


def _read(source: "str | Path | Mapping[str, Any] | ViewSpec | None") -> ViewSpec:
    if source is None:
        return _EVERYTHING
    if isinstance(source, ViewSpec):
        return source
    if isinstance(source, Mapping):
        return parse_view(encode_json(source).decode(), "the configuration")  # JSON is YAML
    return load_view(source) if Path(source).exists() else _EVERYTHING
