"""The writer of a node, with the names and texts that its users know."""

from collections.abc import Mapping
from typing import Any

from runcast import Event, Writer, current_writer
from runcast.clock import Clock
from runcast.compat.config import Config, StreamConfig, spec_of
from runcast.compat.graph_reader import Texts
from runcast.compat.viewed_writer import ViewedWriter
from runcast.errors import InvalidValue
from runcast.events.fields import as_text
from runcast.events.view import ViewSpec
from runcast.runs import stream_writer

__all__ = ("StreamWriter", "texts_of")


def texts_of(templates: Mapping[str, str] | None) -> Texts:
    """Return the texts with some of them replaced.

    Args:
        templates: by name: `tool_call`, `section_complete`, `research_found`, `interrupt_waiting`,
            `interrupt_approved`, `interrupt_rejected`. What may be in braces is what the default
            has there.

    Raises:
        InvalidValue: there is no such text, or it names something else in braces.
    """
    given = dict(templates or {})
    unknown = given.keys() - set(Texts._fields)
    if unknown:
        raise InvalidValue(f"expected texts for {', '.join(Texts._fields)}; got {sorted(unknown)}")
    for name, text in given.items():
        try:
            text.format(tool_name="", title="", action="")
        except (LookupError, ValueError, AttributeError) as error:
            raise InvalidValue(f"the text for {name} cannot be filled in: {error!r}") from None
    return Texts(**given)


class StreamWriter(stream_writer.StreamWriter):
    """Writes the messages of one node to the run it is used in; outside a run it does nothing.

    Args:
        node_name, agent_name: where what is written happens.
        custom_templates: texts to use instead of the usual ones; see `texts_of`.
        config: what is shown of it: a YAML file, a mapping, a `StreamConfig`; None shows all. What
            is hidden is not stored either. The same reasoning and the same question are told once.
        writer: the run written to, if not the current one.
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
        self.texts = texts_of(custom_templates)
        self.config = config if isinstance(config, StreamConfig) else spec_of(config)
        self._clock = clock
        self._viewed: ViewedWriter | None = None

    @property
    def node_name(self) -> str:
        """The node."""
        return self.node

    @property
    def agent_name(self) -> str:
        """The agent."""
        return self.agent

    @property
    def spec(self) -> ViewSpec:
        """The view that the configuration stands for at present."""
        return spec_of(self.config)

    def with_config(self, config: Config) -> "StreamWriter":
        """Return a writer of the same node that shows something else."""
        made = StreamWriter(
            self.node, self.agent, None, config, writer=self._writer, clock=self._clock
        )
        made.texts = self.texts
        return made

    def bound_to(self, writer: Writer) -> "StreamWriter":
        """Return a writer of the same node that writes to a run from wherever it is used."""
        made = StreamWriter(self.node, self.agent, None, self.config, writer=writer)
        made.texts = self.texts
        return made

    def sink(self) -> ViewedWriter | None:
        """Return what the next event is written to; None outside a run."""
        run = self._writer or current_writer()
        if run is None:
            return None
        viewed = self._viewed
        if viewed is None or viewed.writer is not run:
            viewed = self._viewed = ViewedWriter(run, self.spec)
        viewed.use(self.spec)
        return viewed

    def tell(self, event: Event) -> None:
        """Write an event."""
        sink = self.sink()
        if sink is not None:
            sink.emit(
                event.type,
                event.data,
                node=event.node,
                agent=event.agent,
                path=event.path,
                duration=event.duration,
            )

    def flush_buffer(self) -> None:
        """Write what the configuration had gathered so far; it happens at the end by itself."""
        if self._viewed is not None:
            self._viewed.flush()

    # Where names or texts are not those of `runcast.StreamWriter`.

    def tool_call(  # type: ignore[override]
        self,
        tool_name: str,
        tool_args: object,
        custom_content: str | None = None,
        call_id: str = "",
        **extra: object,
    ) -> None:
        """Say that a tool is called; `custom_content` replaces the usual text."""
        text = custom_content
        if text is None:
            text = self.texts.tool_call.format(tool_name=tool_name)
        super().tool_call(tool_name, tool_args, text, call_id, **extra)

    def content_streaming(  # type: ignore[override]
        self, chunk: object, chunk_index: int = 0, message_id: str = ""
    ) -> None:
        """Give a piece of text. The pieces are counted, whatever `chunk_index` says."""
        super().content_streaming(as_text(chunk), message_id)

    def interrupt_response(
        self,
        response: object,
        approved: bool,
        interrupt_id: str | None = None,
        **extra: object,
    ) -> None:
        """Tell what was answered."""
        super().interrupt_response(response, approved, interrupt_id or "", **extra)

    def interrupt_resolved(
        self, result: str, interrupt_id: str | None = None, **extra: object
    ) -> None:
        """Say what came of it; the question is closed."""
        super().interrupt_resolved(result, interrupt_id or "", **extra)

    def final_result(
        self,
        result: object,
        execution_summary: Mapping[str, Any] | None = None,
        **extra: object,
    ) -> None:
        """Give the outcome, after everything that was gathered."""
        self.flush_buffer()
        super().final_result(result, execution_summary, **extra)

    def _send_aggregated_result(self, summary: str, **extra: object) -> None:
        self.node_complete(summary, **extra)
