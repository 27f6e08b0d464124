"""Flat messages of multi-agent graphs: the writer, the reader of a graph's stream, and questions.

    writer = create_stream_writer("research", "research")
    writer.step_start("开始研究")
    writer.tool_call("web_search", {"query": "…"})      # content: 调用了 web_search 工具

    processor = create_workflow_processor("research", config="stream.yaml")
    async for chunk in graph.astream(inputs, stream_mode=[…], subgraphs=True):
        processor.process_chunk(chunk)
    processor.get_summary()

The names and their behaviour are those of the modules that this one replaces. New: everything is
written to the current run. Any watcher sees it, as flat messages with `?dialect=flat`, or `flat3`
for the newer vocabulary.
"""

from collections.abc import Mapping

from runcast.compat.writer.flat_writer import Config, StreamWriter
from runcast.compat.writer.interrupts import InterruptHandler, resume_value
from runcast.compat.writer.workflow import (
    AgentStreamCollector,
    AgentWorkflowProcessor,
    FlatDataProcessor,
)

__all__ = (
    "AgentStreamCollector",
    "AgentWorkflowProcessor",
    "FlatDataProcessor",
    "InterruptHandler",
    "StreamWriter",
    "create_agent_stream_collector",
    "create_flat_processor",
    "create_interrupt_handler",
    "create_stream_writer",
    "create_workflow_processor",
    "resume_value",
)


def create_stream_writer(
    node_name: str = "",
    agent_name: str = "",
    custom_templates: Mapping[str, str] | None = None,
    config: Config = None,
) -> StreamWriter:
    """Return a node's writer."""
    return StreamWriter(node_name, agent_name, custom_templates, config)


def create_workflow_processor(
    node_name: str = "",
    agent_name: str = "",
    custom_templates: Mapping[str, str] | None = None,
    config: Config = None,
) -> AgentWorkflowProcessor:
    """Return a processor that writes a graph's stream."""
    return AgentWorkflowProcessor(StreamWriter(node_name, agent_name, custom_templates, config))


def create_flat_processor(
    custom_templates: Mapping[str, str] | None = None,
) -> FlatDataProcessor:
    """Return a processor that returns flat messages and writes nothing."""
    return FlatDataProcessor(custom_templates)


def create_agent_stream_collector(
    node_name: str = "",
    agent_name: str = "",
    custom_templates: Mapping[str, str] | None = None,
) -> AgentStreamCollector:
    """Return a collector that writes an agent's stream and keeps its text."""
    return AgentStreamCollector(StreamWriter(node_name, agent_name, custom_templates))


def create_interrupt_handler(
    node_name: str = "", agent_name: str = "", config: Config = None
) -> InterruptHandler:
    """Return a handler that keeps a node's questions."""
    return InterruptHandler(StreamWriter(node_name, agent_name, None, config))
