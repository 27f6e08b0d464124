"""The reader of this format's graphs: flat messages, sections, findings, the report."""

from collections.abc import Iterator, Mapping
from typing import Any

from runcast import Event
from runcast._wire.dialects.base import flatten
from runcast.compat.writer.flat_messages import Texts, event_of, is_message
from runcast.events.vocabulary import as_text
from runcast.sources import _graph_chunks
from runcast.sources._graph_chunks import Call, GraphChunk
from runcast.sources._graph_events import GraphReader
from runcast.sources._graph_reader import digest_of

__all__ = ("FlatGraphReader", "read_chunk")


def read_chunk(chunk: object) -> GraphChunk | None:
    """Return a parsed chunk, also for a flat message; None if its form is unknown."""
    if isinstance(chunk, Mapping) and "message_type" in chunk:
        return GraphChunk((), "custom", chunk)
    return _graph_chunks.read_chunk(chunk)


class FlatGraphReader(GraphReader):
    """Reads the stream of a graph that writes flat messages and keeps sections in its state."""

    def __init__(self, node: str = "", agent: str = "", texts: Texts | None = None) -> None:
        super().__init__(node, agent)
        self._texts = texts or Texts()
        self.progress: float = 0.0
        """The last progress, percent."""
        self.sections = self.findings = 0
        self.report = ""
        """The final report, once the graph has written it."""

    def custom(self, chunk: GraphChunk) -> Iterator[Event]:
        """Yield the event of a flat message; other data as a `custom` event."""
        data = chunk.data
        if not is_message(data):
            yield from super().custom(chunk)
            return
        agents = self.agents(chunk)
        agent, path = (agents[-1], agents[:-1]) if agents else (self._agent, ())
        event = event_of(data, self._node, agent, path)
        if event.type == "step_progress" and isinstance(event.data.get("percent"), int | float):
            self.progress = event.data["percent"]
        yield event

    def state(self, chunk: GraphChunk, node: str, state: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of messages, sections, findings and the report."""
        yield from super().state(chunk, node, state)
        for title, section in _titled(state.get("sections")):
            text = as_text(section.get("content"))
            if self._seen.is_new("section", title, digest_of(text)):
                self.sections += 1
                data: dict[str, object] = {"section_title": title}
                data["message"] = self._texts.section_complete.format(title=title)
                data["word_count"] = section.get("word_count", len(text))
                yield self.event(chunk, node, "content_complete", data)
        for title, found in _titled(state.get("research_results")):
            if self._seen.is_new("found", title, digest_of(as_text(found.get("content")))):
                self.findings += 1
                data = {"percent": self.progress, "research_title": title}
                data["message"] = self._texts.research_found.format(title=title)
                yield self.event(chunk, node, "step_progress", data)
        report = state.get("final_report")
        if isinstance(report, str) and report and self._seen.is_new("report", digest_of(report)):
            self.report = report
            yield self.event(chunk, node, "content_complete", {"message": report})

    def given(self, chunk: GraphChunk, state: Mapping[str, Any]) -> None:
        """Note the state that a graph begins with, with its sections, findings and report."""
        super().given(chunk, state)
        for name, items in (("section", "sections"), ("found", "research_results")):
            for title, item in _titled(state.get(items)):
                self._seen.is_new(name, title, digest_of(as_text(item.get("content"))))
        self._seen.is_new("report", digest_of(as_text(state.get("final_report"))))

    def call(self, call: Call) -> dict[str, object]:
        """Return the data of a `tool_call` event, with its text."""
        data = super().call(call)
        args = data.pop("args")
        text = self._texts.tool_call.format(tool_name=call.tool)
        flatten(data, {"args": args, "message": text})
        return data


def _titled(items: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for item in items if isinstance(items, tuple | list) else ():
        if isinstance(item, Mapping) and item.get("title"):
            yield as_text(item["title"]), item
