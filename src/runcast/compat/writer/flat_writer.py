"""The writer of a node, with the names and texts of the replaced module."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcast import Event, Writer, current_writer
from runcast._clock import Clock
from runcast._hub.forks import make_lock
from runcast._producing import stream_writer
from runcast.compat.writer.flat_messages import Texts
from runcast.compat.writer.viewed_writer import ViewedWriter
from runcast.events.plain import encode_line
from runcast.events.view import ViewSpec
from runcast.events.vocabulary import as_text
from runcast.views import load_view, parse_view

__all__ = ("Config", "StreamWriter", "read_config")

Config = ViewSpec | Mapping[str, Any] | str | Path | None
"""A view, a mapping in the form of its YAML, or the path of such a file."""


def read_config(config: Config) -> ViewSpec:
    """Return the view for a configuration; None shows everything.

    Raises:
        InvalidValue: the configuration cannot be read or is invalid; the message has the line.
    """
    if config is None:
        return ViewSpec()
    if isinstance(config, ViewSpec):
        return config
    if isinstance(config, Mapping):
        return parse_view(encode_line(config).decode(), "the configuration")  # JSON is YAML
    return load_view(config)


class StreamWriter(stream_writer.StreamWriter):
    """Writes the messages of one node to the run it is used in; outside a run it does nothing.

    Args:
        node_name: the node of the messages.
        agent_name: the agent of the messages.
        custom_templates: texts that replace the usual ones; see `Texts`.
        config: what is shown. Hidden messages are not stored either, so no watcher can see them.
            The same reasoning and the same question are written only once.
        writer: the run's writer, if not the current one.
    """

    def __init__(
        self,
        node_name: str = "",
        agent_name: str = "",
        custom_templates: Mapping[str, str] | None = None,
        config: Config = None,
        *,
        writer: Writer | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(node_name, agent_name, writer, clock)
        self.texts = Texts.of(custom_templates)
        self.spec = read_config(config)
        self._viewed: dict[Writer, ViewedWriter] = {}
        self._lock = make_lock()

    @property
    def node_name(self) -> str:
        """The node."""
        return self.node

    @property
    def agent_name(self) -> str:
        """The agent."""
        return self.agent

    def showing(self, config: Config) -> "StreamWriter":
        """Return the same writer with another configuration."""
        made = copy.copy(self)
        made.spec = read_config(config)
        made._viewed, made._lock = {}, make_lock()
        return made

    def sink(self) -> ViewedWriter | None:
        """Return the target of the next event; None outside a run."""
        run = self._writer or current_writer()
        if run is None:
            return None
        with self._lock:
            viewed = self._viewed.get(run)
            if viewed is None:
                viewed = self._viewed[run] = ViewedWriter(run, self.spec, self._forget)
        return viewed

    def _forget(self, run: Writer) -> None:
        with self._lock:
            del self._viewed[run]

    def tell(self, event: Event) -> None:
        """Write an event."""
        sink = self.sink()
        if sink is not None:
            sink.emit_event(event)

    def flush_buffer(self) -> None:
        """Write the text gathered so far; this happens automatically at the end."""
        sink = self.sink()
        if sink is not None:
            sink.flush()

    # Where names or texts are not those of `runcast.StreamWriter`.

    def tool_call(  # type: ignore[override]
        self,
        tool_name: str,
        tool_args: object,
        custom_content: str | None = None,
        call_id: str = "",
        **extra: object,
    ) -> None:
        """Report a tool call; `custom_content` replaces the usual text."""
        text = custom_content
        if text is None:
            text = self.texts.tool_call.format(tool_name=tool_name)
        super().tool_call(tool_name, tool_args, text, call_id, **extra)

    def content_streaming(  # type: ignore[override]
        self, chunk: object, chunk_index: int = 0, message_id: str = ""
    ) -> None:
        """Write a piece of text. Pieces are counted; `chunk_index` is ignored."""
        super().content_streaming(as_text(chunk), message_id)

    def interrupt_response(
        self,
        response: object,
        approved: bool,
        interrupt_id: str | None = None,
        **extra: object,
    ) -> None:
        """Report the answer."""
        super().interrupt_response(response, approved, interrupt_id or "", **extra)

    def interrupt_resolved(
        self, result: str, interrupt_id: str | None = None, **extra: object
    ) -> None:
        """Close the question with its result."""
        super().interrupt_resolved(result, interrupt_id or "", **extra)

    def final_result(
        self,
        result: object,
        execution_summary: Mapping[str, Any] | None = None,
        **extra: object,
    ) -> None:
        """Write the outcome, after all gathered text."""
        self.flush_buffer()
        super().final_result(result, execution_summary, **extra)

    def _send_aggregated_result(self, summary: str, **extra: object) -> None:
        self.node_complete(summary, **extra)
