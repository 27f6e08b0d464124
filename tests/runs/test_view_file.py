"""Views written in YAML, and what is wrong with those that are not."""

from pathlib import Path

import pytest

from runcast.errors import InvalidValue
from runcast.events.view import Filter, Streaming, Verbosity, ViewSpec
from runcast.views import load_view, parse_view

DOCUMENTED = """
messages:
  include: ["step_start", "step_complete", "content_streaming", "final_result"]
  exclude: ["thinking", "reasoning"]
agents:
  include: ["research", "writing"]
  exclude: ["supervisor"]
streaming:
  nodes:
    outline_generation: true
    content_creation: false
"""


def test_the_documented_configuration_is_read() -> None:
    assert parse_view(DOCUMENTED) == ViewSpec(
        messages=Filter(
            frozenset({"step_start", "step_complete", "content_streaming", "final_result"}),
            frozenset({"thinking", "reasoning"}),
        ),
        agents=Filter(frozenset({"research", "writing"}), frozenset({"supervisor"})),
        streaming=Streaming(nodes={"outline_generation": True, "content_creation": False}),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "messages:",
        "messages:\n  include:\n",
        "messages: {include: []}",
        "streaming:\n  nodes:\n",
    ],
)
def test_what_is_empty_lets_everything_in(text: str) -> None:
    assert parse_view(text) == ViewSpec()


def test_main_and_subgraph_nodes_are_told_apart_or_given_together() -> None:
    apart = parse_view("nodes: {main: {include: [a]}, subgraph: {exclude: b}}")
    together = parse_view("nodes: {exclude: [c]}")

    assert apart.nodes == Filter(include=frozenset({"a"}))
    assert apart.subgraph_nodes == Filter(exclude=frozenset({"b"}))
    assert together.nodes == together.subgraph_nodes == Filter(exclude=frozenset({"c"}))


def test_streaming_and_verbosity_are_read() -> None:
    spec = parse_view(
        "streaming: {enabled: false, batch_size: 3, max_buffer: 7}\n"
        "verbosity: {level: minimal, show_timing: no}"
    )

    assert spec.streaming == Streaming(enabled=False, batch_size=3, max_buffer=7)
    assert spec.verbosity == Verbosity(level="minimal", show_timing=False)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("messages:\n  inclde: [a]", 2, "'inclde'"),
        ("streaming:\n  enabled: true\n  batch_size: many", 3, "batch_size"),
        ("streaming:\n  nodes:\n    a: maybe", 3, "nodes: expected true or false for each$"),
        ("verbosity:\n  show_timing: maybe", 2, "show_timing: expected true or false$"),
        ("streaming:\n  nodes: writing", 2, "nodes: expected true or false for each$"),
        ("verbosity:\n  level: loud", 2, "expected one of minimal, normal"),
        ("messages:\n  - a", 2, "mapping"),
        ("messages:\n  include:\n    - a\n    - [b]", 4, "name"),
        ("a: b", 1, "'a'"),
        ("messages: {}\nmessages: {}", 2, "twice"),
        ("messages: [unclosed", 1, "expected"),
        ("streaming:\n  nodes: [a]", 2, "nodes: expected no list$"),
        ("streaming:\n  nodes:\n    a: [true]", 3, "nodes.a"),
        ("streaming:\n  nodes: &a\n    x: *a", 2, "no mapping$"),
        ("streaming:\n  batch_size: 0", 2, "batch_size: expected a whole number from 1 to 10000$"),
        ("streaming:\n  batch_size: 10001", 2, "batch_size"),
        ("streaming:\n  max_buffer: 99999999999999999999999", 2, "max_buffer"),
        ("streaming:\n  batch_size: 2024-13-45", 2, "batch_size"),
        ("streaming:\n  batch_size: =", 2, "batch_size"),
        ("messages:\n  include: [a, \x00]", 2, "not allowed"),
        ("messages: {}\n---\nagents: {}", 2, "another document"),
        ("messages:\n  include: " + "[" * 5000, 2, "too deep"),
        ("messages:\n\tinclude: [a]", 2, "cannot start"),
        ("messages:\n  include:\n    - content\n    - Thinking", 4, "type like .* 'Thinking'"),
        ("messages:\n  exclude: tool call", 2, "type like .* 'tool call'"),
        ("agents: {}\nnodes: {main: {include: [a]}, exclude: [b]}", 2, "or else include"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(InvalidValue, match=rf"my\.yaml, line {line}: .*{problem}"):
        parse_view(text, "my.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"nothing\.yaml"):
        load_view(tmp_path / "nothing.yaml")
    (tmp_path / "junk").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidValue, match="junk"):
        load_view(tmp_path / "junk")
