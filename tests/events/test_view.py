"""Views: what they let through, what they join, and that resuming changes nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast.events.model import Event
from runcast.events.repetition import MAX_SEEN
from runcast.events.view import (
    MAX_GATHERED,
    MAX_GATHERED_CHARS,
    Filter,
    Streaming,
    Verbosity,
    View,
    ViewSpec,
    ViewState,
)

NODES = ("", "outline", "writing")
AGENTS = ("", "supervisor", "writer")
TYPES = (
    "started",
    "step_start",
    "step_progress",
    "step_complete",
    "node_complete",
    "content",
    "content",
    "thinking",
    "reasoning",
    "tool_call",
    "interrupt_request",
    "error",
    "progress",
    "my_type",
)


def log_of(*events: tuple[str, Any] | Event) -> list[Event]:
    """Return events numbered as a log numbers them."""
    made = [e if isinstance(e, Event) else Event(type=e[0], data=e[1]) for e in events]
    return [
        Event(
            seq=seq,
            time=float(seq),
            type=event.type,
            data=event.data,
            node=event.node,
            agent=event.agent,
            path=event.path,
            duration=event.duration,
        )
        for seq, event in enumerate(made, 1)
    ]


def text(value: str, node: str = "", agent: str = "", **more: Any) -> Event:
    return Event(type="content", data={"text": value, **more}, node=node, agent=agent)


def seen(spec: ViewSpec, log: list[Event], state: ViewState | None = None) -> list[Event]:
    view, memory = View(spec), state or ViewState()
    return [shown for event in log for shown in view.step(memory, event)]


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    events = draw(
        st.lists(
            st.builds(
                lambda kind, node, agent, word, key: Event(
                    type=kind,
                    data={"text": word, "message": word, "interrupt_id": key},
                    node=node,
                    agent=agent,
                ),
                st.sampled_from(TYPES),
                st.sampled_from(NODES),
                st.sampled_from(AGENTS),
                st.sampled_from(("a", " ", "\n", "word")),
                st.sampled_from(("q1", "q2")),
            ),
            max_size=60,
        )
    )
    if draw(st.booleans()):
        events.append(Event(type="done", data={}))
    return log_of(*events)


names = st.frozensets(st.sampled_from((*TYPES, *NODES, *AGENTS)), max_size=3)
filters = st.builds(Filter, include=names, exclude=names)
specs = st.builds(
    ViewSpec,
    messages=filters,
    nodes=filters,
    subgraph_nodes=filters,
    agents=filters,
    streaming=st.builds(
        Streaming,
        enabled=st.booleans(),
        batch_size=st.integers(1, 4),
        max_buffer=st.integers(1, 8),
        nodes=st.dictionaries(st.sampled_from(NODES), st.booleans()),
    ),
    verbosity=st.builds(
        Verbosity, level=st.sampled_from(("minimal", "normal", "detailed", "full"))
    ),
    dedupe=st.booleans(),
)


@given(log=logs(), spec=specs, cut=st.integers(0, 60))
def test_a_watcher_who_resumes_sees_what_an_uninterrupted_one_would_have_seen(
    log: list[Event], spec: ViewSpec, cut: int
) -> None:
    view, memory = View(spec), ViewState()
    before = [shown for event in log[:cut] for shown in view.step(memory, event)]
    resumed = memory.copy()
    after = [shown for event in log[cut:] for shown in view.step(resumed, event)]

    assert before + after == seen(spec, log)


@given(log=logs(), spec=specs)
def test_a_view_keeps_the_order_of_the_log_and_gives_nothing_ahead_of_it(
    log: list[Event], spec: ViewSpec
) -> None:
    view, memory = View(spec), ViewState()
    for event in log:
        for shown in view.step(memory, event):
            assert shown.seq == event.seq
            if isinstance(shown.data, dict) and "of" in shown.data:
                first, last = shown.data["of"]
                assert 1 <= first <= last <= event.seq


@given(log=logs(), spec=specs)
def test_nothing_is_left_behind_when_a_run_ends(log: list[Event], spec: ViewSpec) -> None:
    memory = ViewState()
    shown = seen(spec, [*log[:-1], *log_of(*log, ("failed", {}))[-1:]], memory)

    assert memory.gathered == {}
    assert shown[-1].type == "failed"


@given(log=logs())
def test_the_default_view_without_dedupe_shows_everything_as_it_is(log: list[Event]) -> None:
    assert seen(ViewSpec(dedupe=False), log) == log


@given(log=logs(), spec=specs)
def test_a_copied_state_is_not_changed_by_what_the_original_sees(
    log: list[Event], spec: ViewSpec
) -> None:
    view, memory = View(spec), ViewState()
    for event in log[: len(log) // 2]:
        view.step(memory, event)
    copied = memory.copy()
    expected = seen(spec, log[len(log) // 2 :], copied.copy())
    for event in log[len(log) // 2 :]:
        view.step(memory, event)

    assert seen(spec, log[len(log) // 2 :], copied) == expected


def test_exclude_wins_over_include() -> None:
    both = Filter(include=frozenset({"a"}), exclude=frozenset({"a"}))

    assert not both.passes("a")
    assert Filter().passes("a")


def test_names_of_other_formats_are_understood() -> None:
    log = log_of(("content", {"text": "x"}), ("log", {}), ("done", {}))
    spec = ViewSpec(messages=Filter(include=frozenset({"content_streaming"})))

    assert [event.type for event in seen(spec, log)] == ["content", "done"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("content_streaming", ["content"]),
        ("final_result", ["result"]),
        ("processing", ["step_start", "step_progress", "step_complete", "node_complete"]),
        ("interrupt", ["interrupt_request", "interrupt_waiting"]),
    ],
)
def test_a_name_of_another_format_means_all_that_it_has_under_it(
    name: str, meant: list[str]
) -> None:
    kinds = (*meant, "thinking", "interrupt_response", name)
    log = log_of(*((kind, {"interrupt_id": kind}) for kind in kinds), ("done", {}))
    included = ViewSpec(messages=Filter(include=frozenset({name})))
    excluded = ViewSpec(messages=Filter(exclude=frozenset({name})))

    assert [event.type for event in seen(included, log)] == [*meant, name, "done"]
    assert [event.type for event in seen(excluded, log)] == [
        *("thinking", "interrupt_response", "done")
    ]


def test_main_and_subgraph_nodes_are_filtered_apart() -> None:
    spec = ViewSpec(
        nodes=Filter(exclude=frozenset({"writing"})),
        subgraph_nodes=Filter(include=frozenset({"writing"})),
    )
    log = log_of(
        text("main", "writing"), text("sub", "writing", "w"), text("other", "outline", "w")
    )

    assert [event.data["text"] for event in seen(spec, log)] == ["sub"]


def test_a_node_switched_off_arrives_as_one_message_when_it_is_complete() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    log = log_of(
        Event(type="step_start", data={"message": "go"}, node="writing"),
        text("深度", "writing"),
        text(" ", "writing"),
        Event(type="error", data={"message": "slow"}, node="writing"),
        text("研究", "writing"),
        text("elsewhere", "outline"),
        Event(type="step_complete", data={"message": "ok"}, node="writing"),
    )

    shown = seen(spec, log)

    assert [(event.seq, event.type) for event in shown] == [
        (4, "error"),
        (6, "content"),
        (7, "node_complete"),
    ]
    assert shown[-1].data == {"message": "深度 研究", "aggregated": True, "of": [1, 5]}
    assert shown[-1].duration == 6.0


def test_what_a_run_found_is_shown_although_its_node_is_switched_off() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    log = log_of(
        text("a", "writing"),
        Event(type="result", data={"value": "42"}, node="writing"),
        Event(type="step_complete", data={"message": "ok"}, node="writing"),
        ("done", {"summary": {}}),
    )

    shown = seen(spec, log)

    assert [(event.seq, event.type) for event in shown] == [
        *((2, "result"), (3, "node_complete"), (4, "done"))
    ]
    assert shown[0].data == {"value": "42"}
    assert shown[1].data == {"message": "a", "aggregated": True, "of": [1, 1]}


def test_a_node_switched_off_says_more_than_is_gathered_in_parts() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    half = "x" * (MAX_GATHERED_CHARS // 2)
    log = log_of(*(text(half, "writing") for _ in range(4)), ("done", {}))

    shown = seen(spec, log)

    assert [(event.seq, event.data["of"]) for event in shown[:-1]] == [(3, [1, 3]), (5, [4, 4])]
    assert "".join(event.data["message"] for event in shown[:-1]) == half * 4


def test_of_more_nodes_than_are_gathered_the_oldest_is_shown() -> None:
    nodes = [f"node-{number}" for number in range(MAX_GATHERED + 2)]
    spec = ViewSpec(streaming=Streaming(nodes=dict.fromkeys(nodes, False)))
    log = log_of(*(text(node, node) for node in nodes), ("done", {}))
    memory = ViewState()

    early = seen(spec, log[:-1], memory)

    assert [(event.seq, event.node) for event in early] == [
        (MAX_GATHERED + 1, "node-0"),
        (MAX_GATHERED + 2, "node-1"),
    ]
    assert [event.node for event in seen(spec, log[-1:], memory)] == [*nodes[2:], ""]


def test_each_step_of_a_node_that_is_switched_off_arrives_apart() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    start = Event(type="step_start", data={"message": "on"}, node="writing")
    log = log_of(start, text("a", "writing"), start, text("b", "writing"), ("done", {}))

    shown = seen(spec, log)

    assert [event.data.get("message") for event in shown] == ["a", "b", None]


def test_batches_that_are_full_leave_a_node_that_is_switched_off_together() -> None:
    streaming = Streaming(enabled=False, max_buffer=2, nodes={"writing": False})
    log = log_of(*(text("a", "writing"), text("b", "x"), text("c", "y")) * 2, ("done", {}))

    shown = seen(ViewSpec(streaming=streaming), log)

    assert [event.data.get("text") for event in shown[:4]] == ["b", "c", "b", "c"]
    assert [event.data.get("message") for event in shown[4:]] == ["aa", None]


def test_a_node_that_said_nothing_is_complete_all_the_same() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    log = log_of(Event(type="step_complete", data={"message": "nothing to do"}, node="writing"))

    assert seen(spec, log)[0].data["message"] == "nothing to do"


@pytest.mark.parametrize(
    "messages",
    [
        Filter(include=frozenset({"content"})),
        Filter(exclude=frozenset({"step_complete"})),
    ],
)
def test_a_node_switched_off_arrives_when_it_is_complete_although_that_is_left_out(
    messages: Filter,
) -> None:
    spec = ViewSpec(messages=messages, streaming=Streaming(nodes={"writing": False}))
    log = log_of(
        text("a", "writing"),
        text("b", "writing"),
        Event(type="step_complete", data={"message": "ok"}, node="writing"),
        text("c", "outline"),
        ("done", {}),
    )

    shown = seen(spec, log)

    assert [(event.seq, event.type) for event in shown] == [
        *((3, "node_complete"), (4, "content"), (5, "done"))
    ]
    assert shown[0].data == {"message": "ab", "aggregated": True, "of": [1, 2]}


def test_what_an_agent_that_is_left_out_says_does_not_end_a_node_for_others() -> None:
    spec = ViewSpec(
        agents=Filter(exclude=frozenset({"supervisor"})), streaming=Streaming(nodes={"w": False})
    )
    log = log_of(
        text("a", "w", "writer"),
        Event(type="step_complete", data={}, node="w", agent="supervisor"),
        text("b", "w", "writer"),
        Event(type="step_complete", data={}, node="w", agent="writer"),
    )

    assert [(event.seq, event.data["message"]) for event in seen(spec, log)] == [(4, "ab")]


def test_who_wants_no_aggregated_message_gets_none() -> None:
    spec = ViewSpec(
        messages=Filter(exclude=frozenset({"node_complete"})),
        streaming=Streaming(nodes={"writing": False}),
    )
    log = log_of(
        text("a", "writing"),
        Event(type="step_complete", data={}, node="writing"),
        text("b", "writing"),
        ("done", {}),
    )

    assert [event.type for event in seen(spec, log)] == ["done"]


def test_an_aggregated_message_has_the_duration_that_was_measured() -> None:
    spec = ViewSpec(streaming=Streaming(nodes={"writing": False}))
    log = log_of(
        text("a", "writing"),
        Event(type="step_complete", data={}, node="writing", duration=0.25),
        Event(type="node_complete", data={}, node="writing", duration=0.5),
        text("b", "writing", "writer"),
        Event(type="step_complete", data={}, node="writing", duration=0.75),
    )

    assert [event.duration for event in seen(spec, log)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(("batch_size", "expected"), [(2, ["ab", "cd", "e"]), (10, ["abcde"])])
def test_with_streaming_disabled_pieces_arrive_joined_and_the_tail_is_flushed(
    batch_size: int, expected: list[str]
) -> None:
    spec = ViewSpec(streaming=Streaming(enabled=False, batch_size=batch_size))
    log = log_of(*(text(letter, index=i) for i, letter in enumerate("abcde")), ("done", {}))

    shown = seen(spec, log)

    assert [event.data["text"] for event in shown[:-1]] == expected
    assert shown[0].data["index"] == 0
    assert shown[-1].type == "done"


def test_pieces_that_are_joined_do_not_pass_what_was_said_between_them() -> None:
    spec = ViewSpec(streaming=Streaming(enabled=False))
    thought = Event(type="thinking", data={"text": "hm"}, node="x")
    log = log_of(text("a", "x"), text("b", "x"), thought, text("c", "x"), ("done", {}))

    shown = [(event.seq, event.data.get("text"), event.data.get("of")) for event in seen(spec, log)]

    assert shown == [(3, "ab", [1, 2]), (4, "hm", [3, 3]), (5, "c", [4, 4]), (5, None, None)]


def test_max_buffer_bounds_the_pieces_that_wait() -> None:
    spec = ViewSpec(streaming=Streaming(enabled=False, batch_size=100, max_buffer=3))
    log = log_of(text("a", "x"), text("b", "y"), text("c", "x"))

    assert [event.data["text"] for event in seen(spec, log)] == ["ac", "b"]


def test_the_same_reasoning_is_shown_once_however_much_later_it_comes() -> None:
    def reasoning(node: str, time: float) -> Event:
        return Event(type="reasoning", data={"text": "why"}, node=node, duration=time)

    log = log_of(reasoning("a", 1.0), reasoning("a", 2.5), reasoning("b", 1.0))

    assert [event.seq for event in seen(ViewSpec(), log)] == [1, 3]


def test_pieces_of_streamed_reasoning_are_no_repetitions() -> None:
    pieces = [
        Event(type="reasoning", data={"text": "ha", "message_id": "m", "index": i})
        for i in range(3)
    ]

    assert len(seen(ViewSpec(), log_of(*pieces))) == 3


def test_repetitions_are_looked_for_among_a_bounded_number_of_messages() -> None:
    def reasoning(text: str) -> Event:
        return Event(type="reasoning", data={"text": text})

    many = [reasoning(str(number)) for number in range(MAX_SEEN)]

    assert len(seen(ViewSpec(), log_of(*many, reasoning("0")))) == MAX_SEEN
    assert len(seen(ViewSpec(), log_of(*many, reasoning("new"), reasoning("0")))) == MAX_SEEN + 2


@pytest.mark.parametrize("key", [{"interrupt_id": "q"}, {}])
def test_the_same_question_is_shown_once_while_it_is_open(key: dict[str, str]) -> None:
    asked = ("interrupt_request", {**key, "message": "a", "args": {"x": 1, "y": 2}})
    other_order = ("interrupt_request", {"args": {"y": 2, "x": 1}, "message": "a", **key})
    resolved = ("interrupt_resolved", {**key, "outcome": "answered"})
    log = log_of(asked, other_order, resolved, asked, asked)

    assert [event.seq for event in seen(ViewSpec(), log)] == [1, 3, 4]
    without_ends = ViewSpec(messages=Filter(exclude=frozenset({"interrupt_resolved"})))
    assert [event.seq for event in seen(without_ends, log)] == [1, 4]


def test_a_question_that_asks_something_else_is_shown_under_the_same_id_too() -> None:
    def asks(key: str, message: str, **more: Any) -> tuple[str, Any]:
        return ("interrupt_request", {"interrupt_id": key, "message": message, **more})

    log = log_of(asks("q", "a"), asks("r", "a"), asks("q", "b"), asks("q", "b", args=1))

    assert [event.seq for event in seen(ViewSpec(), log)] == [1, 2, 3, 4]


def test_what_is_repeated_is_remembered_anew() -> None:
    def reasoning(number: int) -> Event:
        return Event(type="reasoning", data={"text": f"why {number}"})

    others = [reasoning(number) for number in range(1, 2 * MAX_SEEN - 1)]
    half = len(others) // 2
    log = log_of(reasoning(0), *others[:half], reasoning(0), *others[half:], reasoning(0))

    assert len(seen(ViewSpec(), log)) == 1 + len(others)


def test_verbosity_leaves_out_how_but_not_what() -> None:
    log = log_of(
        ("thinking", {"text": "hm"}),
        ("tool_call", {"tool": "search"}),
        Event(
            type="content",
            data={"text": "x", "metadata": {"a": 1}},
            path=("a", "b"),
            duration=1.0,
        ),
    )
    quiet = ViewSpec(
        verbosity=Verbosity(
            level="minimal", show_metadata=False, show_timing=False, show_agent_hierarchy=False
        )
    )

    assert seen(quiet, log) == [Event(seq=3, time=3.0, type="content", data={"text": "x"})]
    assert len(seen(ViewSpec(), log)) == 3


def test_a_type_that_is_asked_for_by_name_is_shown_at_every_level() -> None:
    spec = ViewSpec(
        messages=Filter(include=frozenset({"thinking"})), verbosity=Verbosity(level="minimal")
    )

    assert len(seen(spec, log_of(("thinking", {"text": "hm"})))) == 1


@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
    spec=specs,
    kind=st.sampled_from(TYPES),
)
def test_hostile_data_never_breaks_a_view(data: Any, spec: ViewSpec, kind: str) -> None:
    log = log_of(Event(type=kind, data=data, node="writing"), ("done", data))

    assert seen(spec, log)[-1].type == "done"
