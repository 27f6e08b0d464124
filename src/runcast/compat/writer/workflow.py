"""Turn a graph's stream into the events of a run, or into flat messages."""

from collections.abc import AsyncIterable, Mapping
from typing import Any, Final

from runcast import Event
from runcast._clock import SystemClock
from runcast._wire.dialects.flat import Flat
from runcast.compat.writer.flat_messages import Texts, is_message
from runcast.compat.writer.flat_writer import Config, StreamWriter
from runcast.compat.writer.graph_reader import FlatGraphReader, read_chunk
from runcast.events.pieces import Pieces
from runcast.sources._graph_chunks import Asked, GraphChunk

__all__ = ("AgentStreamCollector", "AgentWorkflowProcessor", "FlatDataProcessor")

_flat: Final = Flat()


class AgentWorkflowProcessor:
    """Writes a graph's stream: `for chunk in …: processor.process_chunk(chunk)`.

    Args:
        writer: gets the events; its node and agent are used if a chunk has none.
        custom_templates: texts that replace the writer's.
        config: what is shown; replaces the writer's configuration.
    """

    def __init__(
        self,
        writer: StreamWriter,
        custom_templates: Mapping[str, str] | None = None,
        config: Config = None,
    ) -> None:
        self.writer = writer if config is None else writer.showing(config)
        texts = Texts.of({**writer.texts._asdict(), **(custom_templates or {})})
        self._reader = FlatGraphReader(writer.node, writer.agent, texts)
        self._texts = texts
        self.chunk_count = 0
        self.current_step = ""
        self.final_output = ""

    @property
    def sections_completed(self) -> int:
        """Sections written so far; a section that is written again counts again."""
        return self._reader.sections

    @property
    def research_findings(self) -> int:
        """Sources found so far."""
        return self._reader.findings

    def process_chunk(self, chunk: object) -> dict[str, Any]:
        """Write a chunk's events, and return what was done.

        Returns:
            `{"processed": mode, "messages": n}`. For questions `{"interrupt_processed": True,
            "interrupt_id", "action", "args", "interrupts": [each]}`, or `{"interrupt_skipped":
            True, "interrupt_id"}` if all of them were written before. `{"filtered_node": name}` or
            `{"filtered_agent": name}` if the configuration hides its source. `{"ignored": mode}`
            for a chunk of another kind.
        """
        self.chunk_count += 1
        read = read_chunk(chunk)
        if read is None:
            return {"ignored": type(chunk).__name__}
        new, old = self._reader.questions(read)
        if new or old:
            return self._ask(read, new, old)
        if not self._reader.reads(read):
            return {"ignored": read.mode}
        events = self._reader.read(read)
        hidden: dict[str, Any] = {}
        for event in events:
            self.current_step = event.node or self.current_step
            if event.type in ("content", "result"):
                self.final_output = str(event.data.get("text", event.data.get("value", "")))
            hidden = self._hidden(event)
            self.writer.tell(event)
        self.final_output = self._reader.report or self.final_output
        return hidden or {"processed": read.mode, "messages": len(events)}

    def _ask(self, chunk: GraphChunk, new: list[Asked], old: list[Asked]) -> dict[str, Any]:
        if not new:
            return {"interrupt_skipped": True, "interrupt_id": old[0].interrupt_id}
        for asked in new:
            self.writer.tell(self._reader.question(chunk, asked))
            waiting = {"interrupt_id": asked.interrupt_id, "message": self._texts.interrupt_waiting}
            self.writer.tell(self._reader.event(chunk, "", "interrupt_waiting", waiting))
        questions = [
            {"interrupt_id": a.interrupt_id, "action": a.action, "args": a.args} for a in new
        ]
        return {"interrupt_processed": True, **questions[0], "interrupts": questions}

    def _hidden(self, event: Event) -> dict[str, Any]:
        spec = self.writer.spec
        nodes = spec.subgraph_nodes if event.agent else spec.nodes
        if event.node and not nodes.passes(event.node):
            return {"filtered_node": event.node}
        if event.agent and not spec.agents.passes(event.agent):
            return {"filtered_agent": event.agent}
        return {}

    def get_summary(self) -> dict[str, Any]:
        """Write the remaining gathered text, and return the counters."""
        self.writer.flush_buffer()
        return {
            "chunk_count": self.chunk_count,
            "current_step": self.current_step,
            "sections_completed": self.sections_completed,
            "research_findings": self.research_findings,
            "final_output": self.final_output,
        }


class AgentStreamCollector:
    """Writes the whole stream of one agent, and keeps its text."""

    def __init__(
        self, writer: StreamWriter, custom_templates: Mapping[str, str] | None = None
    ) -> None:
        self.writer = writer
        self._texts = Texts.of({**writer.texts._asdict(), **(custom_templates or {})})
        self.full_response = ""
        self.tools_used: list[str] = []
        self.chunk_count = 0

    async def process_agent_stream(
        self, agent_stream: AsyncIterable[object], agent_name: str
    ) -> str:
        """Write the stream, then the agent's completion; return the text."""
        reader = FlatGraphReader(self.writer.node, agent_name, self._texts)
        pieces: list[str] = []
        async for chunk in agent_stream:
            self.chunk_count += 1
            read = read_chunk(chunk)
            for event in reader.read(read) if read is not None else ():
                self.writer.tell(event)
                if event.type == "content":
                    pieces.append(str(event.data["text"]))
                elif event.type == "tool_call" and event.data["tool"] not in self.tools_used:
                    self.tools_used.append(event.data["tool"])
        self.full_response = "".join(pieces)
        self.writer.content_complete(
            self._texts.agent_complete.format(agent=agent_name),
            word_count=len(self.full_response),
            tools_used=list(self.tools_used),
            total_chunks=self.chunk_count,
        )
        return self.full_response


class FlatDataProcessor:
    """Returns a graph's stream as flat messages; writes nothing."""

    def __init__(self, custom_templates: Mapping[str, str] | None = None) -> None:
        self._reader = FlatGraphReader(texts=Texts.of(custom_templates))
        self._pieces = Pieces()

    def flatten_chunk(self, chunk: object) -> dict[str, Any] | None:
        """Return the first message of a chunk, or None."""
        return next(iter(self.flatten(chunk)), None)

    def flatten(self, chunk: object) -> list[dict[str, Any]]:
        """Return all messages of a chunk, including questions, each once.

        A message that is already flat keeps all its fields, whatever its type.
        """
        read = read_chunk(chunk)
        if read is None:
            return []
        if read.mode == "custom" and is_message(read.data):
            where = _flat.message(self._reader.event(read, "", "custom", {}))
            return [{**where, "timestamp": SystemClock.time(), **read.data}]
        asked, _ = self._reader.questions(read)
        events = [self._reader.question(read, each) for each in asked]
        events += self._reader.read(read)
        return [self._message(event) for event in events]

    def _message(self, event: Event) -> dict[str, Any]:
        if event.type == "content":
            text = (event.node, event.agent, event.path, event.data.get("message_id"))
            event.data["index"] = self._pieces.number(text)
        return {**_flat.message(event), "timestamp": SystemClock.time()}
