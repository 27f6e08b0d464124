"""What turns a graph's stream into the events of a run, or into flat messages."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec.structs

from runcast import Event
from runcast.clock import SystemClock
from runcast.compat.chunks import Chunk, read_chunk
from runcast.compat.config import Config
from runcast.compat.flat_messages import event_of, is_message
from runcast.compat.flat_writer import StreamWriter, texts_of
from runcast.compat.graph_reader import GraphReader
from runcast.wire.dialects.flat import Flat

__all__ = ("AgentStreamCollector", "AgentWorkflowProcessor", "FlatDataProcessor")

MAX_TEXTS: Final = 1000
"""Nodes and agents whose text a collector keeps; the one heard longest ago goes first."""

_flat: Final = Flat()


class AgentWorkflowProcessor:
    """Writes what a graph's stream yields: `for chunk in …: processor.process_chunk(chunk)`.

    Args:
        writer: gets the events; its node and agent stand in where a chunk has none.
        custom_templates: see `StreamWriter`.
        config: what is shown; the writer's own if None.
    """

    def __init__(
        self,
        writer: StreamWriter,
        custom_templates: Mapping[str, str] | None = None,
        config: Config = None,
    ) -> None:
        self.writer = writer if config is None else writer.with_config(config)
        texts = texts_of(custom_templates) if custom_templates else writer.texts
        self._reader = GraphReader(writer.node, writer.agent, texts)
        self.chunk_count = 0
        self.current_step = ""
        self.final_output = ""

    @property
    def sections_completed(self) -> int:
        """Sections written so far; one that was written anew counts again."""
        return self._reader.sections

    @property
    def research_findings(self) -> int:
        """Sources found so far."""
        return self._reader.findings

    def process_chunk(self, chunk: object) -> dict[str, Any]:
        """Write what a chunk says, and return what was done with it.

        Returns:
            `{"processed": mode, "messages": n}`; for questions `{"interrupt_processed": True,
            "interrupt_id", "action", "args", "interrupts": [each]}`, or `{"interrupt_skipped":
            True, "interrupt_id"}` if all were told before; `{"filtered_node": name}` or
            `{"filtered_agent": name}` if the configuration hides where it comes from; `{"ignored":
            mode}` for a chunk of another kind.
        """
        self.chunk_count += 1
        read = read_chunk(chunk)
        if read is None:
            return {"ignored": type(chunk).__name__}
        asked = self._ask(read)
        if asked is not None:
            return asked
        events = self._reader.read(read)
        if read.mode not in ("custom", "messages", "updates"):
            return {"ignored": read.mode}
        hidden = {}
        for event in events:
            self.current_step = event.node or self.current_step
            if event.type in ("content", "result") and isinstance(event.data, dict):
                self.final_output = str(event.data.get("text", event.data.get("value", "")))
            hidden = self._hidden(event)
            self.writer.tell(event)
        self.final_output = self._reader.report or self.final_output
        return hidden or {"processed": read.mode, "messages": len(events)}

    def _ask(self, chunk: Chunk) -> dict[str, Any] | None:
        new, old = self._reader.questions(chunk)
        for asked in new:
            question = {"interrupt_id": asked.interrupt_id, "action": asked.action}
            question |= {"args": asked.args, "message": asked.description}
            if asked.config:
                question["config"] = dict(asked.config)
            self.writer.tell(self._reader.event(chunk, "", "interrupt_request", question))
            waiting = {"interrupt_id": asked.interrupt_id}
            waiting["message"] = self.writer.texts.interrupt_waiting
            self.writer.tell(self._reader.event(chunk, "", "interrupt_waiting", waiting))
        if new:
            told = [
                {"interrupt_id": one.interrupt_id, "action": one.action, "args": one.args}
                for one in new
            ]
            return {"interrupt_processed": True, **told[0], "interrupts": told}
        if old:
            return {"interrupt_skipped": True, "interrupt_id": old[0].interrupt_id}
        return None

    def _hidden(self, event: Event) -> dict[str, Any]:
        spec = self.writer.spec
        nodes = spec.subgraph_nodes if event.agent else spec.nodes
        if event.node and not nodes.passes(event.node):
            return {"filtered_node": event.node}
        if event.agent and not spec.agents.passes(event.agent):
            return {"filtered_agent": event.agent}
        return {}

    def get_summary(self) -> dict[str, Any]:
        """Return the counters, having written what was still gathered."""
        self.writer.flush_buffer()
        return {
            "chunk_count": self.chunk_count,
            "current_step": self.current_step,
            "sections_completed": self.sections_completed,
            "research_findings": self.research_findings,
            "final_output": self.final_output,
        }


class FlatDataProcessor:
    """Gives what a graph's stream yields as flat messages, and writes it if there is a writer."""

    def __init__(self, writer: StreamWriter | None = None) -> None:
        self.writer = writer
        node, agent = (writer.node, writer.agent) if writer is not None else ("", "")
        self._reader = GraphReader(node, agent, writer.texts if writer is not None else None)

    def flatten(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message as a flat one; one that is flat already loses nothing."""
        if is_message(message):
            flat = _flat.message(event_of(message))
            flat["timestamp"] = message.get("timestamp", SystemClock.time())
            return flat
        return self._flat(Event(type="custom", data=dict(message)))

    def process_chunk(self, chunk: object) -> list[dict[str, Any]]:
        """Return the flat messages that a chunk stands for; questions too, each once."""
        read = read_chunk(chunk)
        if read is None:
            return []
        events = self._reader.read(read)
        for asked in self._reader.questions(read)[0]:
            question = {"interrupt_id": asked.interrupt_id, "action": asked.action}
            question |= {"args": asked.args, "message": asked.description}
            events.append(self._reader.event(read, "", "interrupt_request", question))
        if self.writer is not None:
            for event in events:
                self.writer.tell(event)
        return [self._flat(event) for event in events]

    def _flat(self, event: Event) -> dict[str, Any]:
        return _flat.message(msgspec.structs.replace(event, time=SystemClock.time()))


class AgentStreamCollector(AgentWorkflowProcessor):
    """A processor that also keeps the text of each node and agent, as a front end would show it."""

    def __init__(
        self,
        writer: StreamWriter,
        custom_templates: Mapping[str, str] | None = None,
        config: Config = None,
    ) -> None:
        super().__init__(writer, custom_templates, config)
        self._texts: OrderedDict[str, list[str]] = OrderedDict()
        self._lock = threading.Lock()
        self.writer = _Listening(self.writer, self._hear)

    def _hear(self, event: Event) -> None:
        if event.type == "content" and isinstance(event.data, dict):
            key = f"{event.node}_{event.agent or 'main'}"
            with self._lock:
                self._texts.setdefault(key, []).append(str(event.data.get("text", "")))
                self._texts.move_to_end(key)
                if len(self._texts) > MAX_TEXTS:
                    self._texts.popitem(last=False)

    def get_content(self) -> dict[str, str]:
        """Return the text so far by `node_agent`, where the main graph's agent is `main`."""
        with self._lock:
            return {key: "".join(pieces) for key, pieces in self._texts.items()}


class _Listening(StreamWriter):
    """A writer that tells what it is told."""

    def __init__(self, writer: StreamWriter, hear: Any) -> None:
        super().__init__(writer.node, writer.agent, None, writer.config)
        self.texts = writer.texts
        self._hear = hear

    def tell(self, event: Event) -> None:
        self._hear(event)
        super().tell(event)
