"""Where in a graph something happens: its node, its agent, and the agents above.

A graph's namespace has a part `node:task` for each node that a graph runs in, outermost first. An
agent has a name of its own, which is not the name of its node. A graph without a name counts as an
agent with the name of its node.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from runcast.events.model import Place
from runcast.events.vocabulary import as_text

__all__ = ("AGENT_KEY", "GraphPlaces", "Spot", "spot_of")

_MAX_AGENTS: Final = 4096
"""Most graphs whose agents are remembered; one for each call of a graph inside a graph."""

AGENT_KEY: Final = "lc_agent_name"
"""The field of the metadata that has the agent's name."""


class Spot:
    """Where a call of LangChain belongs in its graph, read from the call's metadata."""

    __slots__ = ("agent", "graph", "node", "task")

    def __init__(self, node: str, task: str, graph: tuple[str, ...], agent: str) -> None:
        self.node = node
        self.task = task
        """The namespace of the node's task, and "" outside a graph: one for each time that a node
        runs, also for those that run at the same time."""
        self.graph = graph
        """The namespace of the graph, in parts."""
        self.agent = agent

    @property
    def task_id(self) -> str:
        """The task's id: the same when the task is resumed."""
        return self.task.rpartition(":")[2]


def spot_of(metadata: Mapping[str, Any] | None) -> Spot:
    """Return the place that the metadata of a call or of a message name."""
    metadata = metadata or {}
    task = as_text(metadata.get("langgraph_checkpoint_ns"))
    parts = tuple(part for part in task.split("|") if part)
    own = 1
    path = metadata.get("langgraph_path")
    # A task called by a task has its caller's part before its own, although it is in one graph.
    while isinstance(path, Sequence) and len(path) == 4 and path[3] is True:
        own, path = own + 1, path[1]
    return Spot(
        as_text(metadata.get("langgraph_node")),
        task,
        parts[: max(0, len(parts) - own)],
        as_text(metadata.get(AGENT_KEY)),
    )


class GraphPlaces:
    """Knows the agents of graphs, once it has heard of them."""

    def __init__(self) -> None:
        self._agents: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def name(self, graph: tuple[str, ...], agent: str) -> None:
        """Note the agent that runs a graph."""
        if not agent or self._agents.get(graph) == agent:
            return
        self._agents[graph] = agent
        if len(self._agents) > _MAX_AGENTS:
            self._agents.popitem(last=False)

    def agents(self, graph: tuple[str, ...]) -> tuple[str, ...]:
        """Return the agents around a graph's nodes, outermost first, the graph's own last."""
        found: list[str] = []
        for depth in range(len(graph) + 1):
            node = graph[depth - 1].partition(":")[0] if depth else ""
            agent = self._agents.get(graph[:depth], node)
            if agent and found[-1:] != [agent]:
                found.append(agent)
        return tuple(found)

    def place(self, graph: tuple[str, ...], node: str) -> Place:
        """Return the place of an event in a node of a graph."""
        agents = self.agents(graph)
        return (node, agents[-1], agents[:-1], None) if agents else (node, "", (), None)
