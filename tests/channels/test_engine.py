"""The engine's invariants, over random runs, channels, faults and crashes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runcast.channels.capability import Capability
from runcast.channels.engine import Finish
from runcast.events.model import Event
from tests.channels import strategies
from tests.channels.simulated import Platform, Simulation, check_end

_finishes = st.sampled_from(["auto", "in_place", "fresh"])


def _simulate(
    script: list[tuple[float, Event]],
    capability: Capability,
    faults: list[str],
    finish: Finish,
    crashes: list[bool],
) -> None:
    simulation = Simulation(
        capability, script, Platform(capability, faults), finish=finish, crashes=crashes
    )
    receipt = simulation.run()
    check_end(simulation, receipt)
    if not any(faults) and not any(crashes):
        assert receipt.status == "delivered"
        assert receipt.strays == 0 or not capability.can_delete


_random = given(
    strategies.scripts(),
    strategies.capabilities,
    strategies.faults | st.just([]),
    _finishes,
    st.just([]) | st.lists(st.booleans(), max_size=40),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@_random
def test_the_end_is_visible_once_or_the_receipt_says_why_not(
    script: list[tuple[float, Event]],
    capability: Capability,
    faults: list[str],
    finish: Finish,
    crashes: list[bool],
) -> None:
    _simulate(script, capability, faults, finish, crashes)


def test_a_message_that_may_come_late_is_searched_for_once_a_call_is_allowed() -> None:
    script = [
        (0.0, Event(seq=1, time=0.0, type="started", data={})),
        (0.0, Event(seq=2, time=0.0, type="done", data={"result": None})),
    ]
    _simulate(
        script, Capability(limit=100, can_find=True, slots=5), ["", "", "lost"], "auto", [True]
    )


@pytest.mark.heavy
@pytest.mark.timeout(600)
@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@_random
def test_the_same_for_longer(
    script: list[tuple[float, Event]],
    capability: Capability,
    faults: list[str],
    finish: Finish,
    crashes: list[bool],
) -> None:
    _simulate(script, capability, faults, finish, crashes)


def _stream(seconds: float, rate: float = 40.0) -> list[tuple[float, Event]]:
    count = int(seconds * rate)
    script = [
        (n / rate, Event(seq=n + 1, type="content", data={"text": f"word{n} "}))
        for n in range(count)
    ]
    return [*script, (seconds, Event(seq=count + 1, type="done", data={"result": None}))]


def test_on_a_server_with_a_strict_limit_the_end_is_there_soon() -> None:
    """Synapse's default limit: ten messages at once, then one in five seconds."""
    capability = Capability(limit=30_000, unit="utf8", interval_s=2.0)
    platform = Platform(capability, burst=10, rate=0.2)
    simulation = Simulation(capability, _stream(25.0), platform)
    receipt = simulation.run()
    check_end(simulation, receipt)
    assert receipt.status == "delivered"
    assert len(platform.messages) == 1
    assert platform.limited <= 3
    assert simulation.now <= 25.0 + 5.0 + 1.0
    assert simulation.first_text_at <= 1.2


def test_a_long_penalty_costs_one_call() -> None:
    capability = Capability(limit=4096, unit="utf16", interval_s=1.0)
    platform = Platform(capability, ["", "", "", "limited 237"])
    simulation = Simulation(capability, _stream(30.0), platform)
    assert simulation.run().status == "delivered"
    assert platform.limited == 1
    assert platform.called_while_blocked == 0
    assert simulation.now < 3.0 + 237.0 + 2.0


def test_an_answer_longer_than_a_message_continues_in_the_next_one() -> None:
    capability = Capability(limit=1000, unit="utf16", interval_s=0.5)
    simulation = Simulation(capability, _stream(20.0), Platform(capability))
    receipt = simulation.run()
    check_end(simulation, receipt)
    assert len(receipt.message_ids) > 5
    assert list(simulation.platform.messages) == list(receipt.message_ids)


def test_a_message_is_not_edited_more_often_than_it_takes() -> None:
    capability = Capability(limit=30_000, interval_s=0.3, max_edits=20)
    simulation = Simulation(capability, _stream(30.0), Platform(capability))
    receipt = simulation.run()
    check_end(simulation, receipt)
    assert len(receipt.message_ids) > 2
    assert simulation.platform.most_edits <= 20


def test_the_first_message_carries_words() -> None:
    capability = Capability(limit=4096)
    script = [(0.0, Event(seq=1, type="content", data={"text": "I"})), *_stream(3.0)]
    simulation = Simulation(capability, script, Platform(capability))
    simulation.run()
    assert len(simulation.platform.first_text) >= 30


def test_a_send_without_an_answer_is_not_repeated_once_all_is_said() -> None:
    capability = Capability(limit=4096)
    script = _stream(0.1)
    for fault, visible in (("late", 1), ("lost", 0)):
        platform = Platform(capability, [fault])
        receipt = Simulation(capability, script, platform).run()
        assert receipt.status == "uncertain"
        assert len(platform.messages) == visible
        assert [kind for _, kind in platform.calls] == ["Send"]


def test_a_send_without_an_answer_is_repeated_if_that_makes_no_second_message() -> None:
    capability = Capability(limit=4096, is_idempotent=True)
    for fault in ("late", "lost"):
        platform = Platform(capability, [fault, fault])
        simulation = Simulation(capability, _stream(0.1), platform)
        receipt = simulation.run()
        check_end(simulation, receipt)
        assert receipt.status == "delivered"
        assert len(platform.messages) == 1


@pytest.mark.parametrize("fault", ["late", "lost"])
def test_a_send_without_an_answer_is_looked_for_where_that_is_possible(fault: str) -> None:
    capability = Capability(limit=4096, can_find=True)
    for script in (_stream(0.1), _stream(8.0)):
        platform = Platform(capability, [fault])
        simulation = Simulation(capability, script, platform)
        receipt = simulation.run()
        check_end(simulation, receipt)
        assert (receipt.status, receipt.strays) == ("delivered", 0)
        assert len(platform.messages) == 1


@pytest.mark.parametrize("fault", ["late", "lost", "later"])
def test_a_fresh_end_without_an_answer_is_looked_for_where_that_is_possible(fault: str) -> None:
    capability = Capability(limit=4096, can_find=True)
    before = [kind for _, kind in _fresh(capability, []).platform.calls].index("Send", 1)
    simulation = _fresh(capability, [*[""] * before, fault])
    assert simulation.receipt.status == "delivered"
    assert tuple(simulation.platform.messages) == simulation.receipt.message_ids
    assert len(simulation.platform.deleted) == (2 if fault == "later" else 1)


@pytest.mark.parametrize("fault", ["late", "lost"])
def test_a_fresh_end_that_nobody_can_look_for_is_shown_by_the_old_message(fault: str) -> None:
    capability = Capability(limit=4096, can_find=True)
    before = [kind for _, kind in _fresh(capability, []).platform.calls].index("Send", 1)
    simulation = _fresh(capability, [*[""] * before, fault, "rejected"])
    assert simulation.receipt.status == "uncertain"
    assert "word79" in simulation.platform.messages["m1"]


def _fresh(capability: Capability, faults: list[str]) -> Simulation:
    """Deliver a stream whose end is a new message."""
    platform = Platform(capability, faults)
    simulation = Simulation(capability, _stream(2.0), platform, finish="fresh")
    check_end(simulation, simulation.run())
    return simulation


@pytest.mark.parametrize("refusal", ["rejected", "limited 30"])
def test_a_platform_that_lets_nobody_look_is_asked_once(refusal: str) -> None:
    capability = Capability(limit=4096, can_find=True)
    platform = Platform(capability, ["late", refusal])
    receipt = Simulation(capability, _stream(0.1), platform).run()
    assert receipt.status == "uncertain"
    assert [kind for _, kind in platform.calls] == ["Send", "Find"]


_TALE = [
    Event(seq=1, type="content", data={"text": "word " * 30, "message_id": "a"}),
    Event(seq=2, type="tool_call", data={"call_id": "1", "tool": "find"}),
    Event(seq=3, type="tool_result", data={"call_id": "1", "ok": True}),
    Event(seq=4, type="interrupt_request", data={"interrupt_id": "q", "message": "Really?"}),
    Event(seq=5, type="interrupt_resolved", data={"interrupt_id": "q", "outcome": "accept"}),
    Event(seq=6, type="content", data={"text": "more " * 30, "message_id": "b"}),
    Event(seq=7, type="done", data={"result": None}),
]


@pytest.mark.parametrize(
    ("ability", "is_exact"),
    [({}, False), ({"is_idempotent": True}, True), ({"can_find": True}, True)],
    ids=["neither", "idempotent", "finds"],
)
@pytest.mark.parametrize("finish", ["in_place", "fresh"])
def test_the_end_is_there_once_wherever_the_process_dies(
    ability: dict[str, bool], is_exact: bool, finish: Finish
) -> None:
    """It dies before each call, between the call and its outcome, and after the outcome."""
    capability = Capability(limit=100, interval_s=0.5, **ability)  # type: ignore[arg-type]
    for step in range(200):
        script = [(event.seq * 1.5, event) for event in _TALE]
        crashes = [False] * step + [True]
        simulation = Simulation(
            capability, script, Platform(capability), finish=finish, crashes=crashes
        )
        receipt = simulation.run()
        check_end(simulation, receipt)
        if is_exact:
            assert receipt.status == "delivered"
            assert set(simulation.platform.messages) == set(receipt.message_ids)
        if not simulation.restarts:
            assert step >= 24  # three steps for each call
            return
    raise AssertionError("the delivery has more steps than expected")


_NONCE = Capability(limit=4096, is_idempotent=True, idempotent_s=120.0)


@pytest.mark.parametrize(("outage_s", "status"), [(60.0, "delivered"), (600.0, "uncertain")])
def test_a_send_is_not_repeated_after_a_restart_if_its_key_may_be_forgotten(
    outage_s: float, status: str
) -> None:
    platform = Platform(_NONCE)
    crashes = [False, True]  # between the call and its outcome
    simulation = Simulation(_NONCE, _stream(0.1), platform, crashes=crashes, outage_s=outage_s)
    receipt = simulation.run()
    assert simulation.restarts == 1
    assert receipt.status == status
    assert len(platform.messages) == 1


def test_a_send_is_not_repeated_after_a_long_penalty_if_its_key_may_be_forgotten() -> None:
    for penalty_s, status in ((60, "delivered"), (600, "uncertain")):
        platform = Platform(_NONCE, ["late", f"limited {penalty_s}"])
        receipt = Simulation(_NONCE, _stream(0.1), platform).run()
        assert receipt.status == status
        assert len(platform.messages) == 1


def test_text_that_grew_is_sent_once_more_when_the_key_may_be_forgotten() -> None:
    platform = Platform(_NONCE, ["late", "limited 600"])
    simulation = Simulation(_NONCE, _stream(60.0), platform)
    receipt = simulation.run()
    check_end(simulation, receipt)
    assert receipt.status == "delivered"
    assert receipt.strays == 1


def test_an_edit_without_an_answer_is_repeated() -> None:
    capability = Capability(limit=4096)
    platform = Platform(capability, ["", "lost", "late", "lost", "late", "lost", "late"])
    simulation = Simulation(capability, _stream(10.0), platform)
    receipt = simulation.run()
    check_end(simulation, receipt)
    assert receipt.status == "delivered"
    assert len(platform.messages) == 1


def test_a_channel_without_edits_gets_whole_messages_at_tools() -> None:
    capability = Capability(limit=4096, can_edit=False)
    script = [
        (0.0, Event(seq=1, type="content", data={"text": "Looking it up."})),
        (0.1, Event(seq=2, type="tool_call", data={"call_id": "1", "tool": "find"})),
        (9.0, Event(seq=3, type="content", data={"text": "Here "})),
        (9.5, Event(seq=4, type="content", data={"text": "it is."})),
        (20.0, Event(seq=5, type="done", data={"result": None})),
    ]
    platform = Platform(capability)
    Simulation(capability, script, platform).run()
    assert list(platform.messages.values()) == ["Looking it up.\n\n⚙ `find()`", "Here it is."]


def test_a_quiet_channel_gets_questions_and_the_end() -> None:
    capability = Capability(limit=4096, can_edit=False, can_delete=False, is_quiet=True)
    script = [
        (0.0, Event(seq=1, type="content", data={"text": "Working. " * 100})),
        (1.0, Event(seq=2, type="tool_call", data={"call_id": "1", "tool": "find"})),
        (30.0, Event(seq=3, type="done", data={"result": "Finished."})),
    ]
    platform = Platform(capability)
    Simulation(capability, script, platform).run()
    assert [time for time, _ in platform.calls] == [30.0]


def test_an_answer_after_a_long_time_is_a_new_message_if_that_is_safe() -> None:
    script = _stream(60.0, rate=2.0)
    for is_idempotent, deleted in ((True, 1), (False, 0)):
        capability = Capability(limit=4096, is_idempotent=is_idempotent)
        platform = Platform(capability)
        simulation = Simulation(capability, script, platform)
        check_end(simulation, simulation.run())
        assert len(platform.deleted) == deleted
        assert len(platform.messages) == 1


def test_typing_is_shown_until_the_end_and_taken_back() -> None:
    capability = Capability(limit=4096, can_type=True, typing_s=5.0, stops_typing=True)
    script = [(0.0, Event(seq=1, type="started")), (31.0, Event(seq=2, type="done", data={}))]
    platform = Platform(capability)
    Simulation(capability, script, platform).run()
    kinds = [kind for _, kind in platform.calls]
    assert kinds == ["Typing"] * 7 + ["Send", "Typing"]


def test_a_target_that_refuses_us_ends_the_delivery() -> None:
    capability = Capability(limit=4096)
    receipt = Simulation(capability, _stream(5.0), Platform(capability, ["", "forbidden"])).run()
    assert receipt.status == "failed"
    assert receipt.message_ids == ("m1",)


@pytest.mark.parametrize("fault", ["", "late"])
def test_a_message_is_closed_once_its_text_has_ended(fault: str) -> None:
    capability = Capability(limit=500, closes_messages=True)
    text = "All is said in one go, and nothing more."
    script = [
        (0.0, Event(seq=1, type="content", data={"text": text})),
        (60.0, Event(seq=2, type="done", data={"result": None})),
    ]
    platform = Platform(capability, [fault])
    simulation = Simulation(capability, script, platform)
    receipt = simulation.run()
    check_end(simulation, receipt)
    if fault:  # nobody knows the message, so nobody can close it, and the text is not sent again
        assert (receipt.status, list(platform.messages.values())) == ("uncertain", [text])
    else:
        assert receipt.status == "delivered"
        assert [kind for _, kind in platform.calls] == ["Send", "Edit"]


def _simulated(capability: Capability, faults: list[str], seconds: float) -> Simulation:
    simulation = Simulation(capability, _stream(seconds), Platform(capability, faults))
    check_end(simulation, simulation.run())
    return simulation


@pytest.mark.parametrize("fault", ["lost", "late", "not_started"])
def test_connections_that_break_delay_the_end_by_less_than_a_second(fault: str) -> None:
    capability = Capability(limit=4096)
    edits = len(_simulated(capability, [], 10.0).platform.calls)
    simulation = _simulated(capability, [*[""] * (edits - 1), *[fault] * 4], 10.0)
    assert simulation.end_at < 10.0 + 1.0


def test_the_end_does_not_wait_for_the_pause_of_a_server_that_was_away() -> None:
    capability = Capability(limit=4096)
    simulation = _simulated(capability, ["", *["not_started"] * 30], 60.0)
    after = [time for time, _ in simulation.platform.calls if time >= 60.0]
    assert after[0] == 60.0


def test_a_repeated_send_that_said_the_same_needs_no_edit() -> None:
    capability = Capability(limit=4096, is_idempotent=True)
    platform = Platform(capability, ["late"])
    assert Simulation(capability, _stream(0.1), platform).run().status == "delivered"
    assert [kind for _, kind in platform.calls] == ["Send", "Send"]


def test_a_repeated_send_that_said_something_else_needs_an_edit() -> None:
    capability = Capability(limit=4096, is_idempotent=True)
    script = [
        (0.0, Event(seq=1, type="content", data={"text": "The beginning of a long answer, "})),
        (0.06, Event(seq=2, type="content", data={"text": "and its end."})),
        (0.07, Event(seq=3, type="done", data={"result": None})),
    ]
    platform = Platform(capability, ["late", "lost"])
    simulation = Simulation(capability, script, platform)
    check_end(simulation, simulation.run())
    assert [kind for _, kind in platform.calls] == ["Send", "Send", "Send", "Edit"]


def test_a_first_message_whose_answer_is_lost_is_there_soon() -> None:
    for ability in ({"is_idempotent": True}, {"can_find": True}):
        capability = Capability(limit=4096, interval_s=3.0, **ability)  # type: ignore[arg-type]
        assert _simulated(capability, ["lost"], 10.0).first_text_at < 1.2


@pytest.mark.parametrize(("lost", "most_s"), [(1, 2.0), (2, 5.0), (3, 10.0)])
@pytest.mark.parametrize("fault", ["lost", "late"])
def test_lost_first_messages_delay_the_first_text_by_seconds(
    lost: int, most_s: float, fault: str
) -> None:
    """Where nobody can know what became of a send, and whether the text is long or short."""
    for capability in (Capability(limit=4096, interval_s=1.1), Capability(limit=100)):
        platform = Platform(capability, [fault] * lost)
        simulation = Simulation(capability, _stream(60.0, rate=4.0), platform)
        check_end(simulation, simulation.run())
        taken = [time for time, kind in platform.calls if kind == "Send"]
        assert taken[lost] < most_s
        assert simulation.receipt.status == "delivered"


def test_a_lost_first_message_is_not_repeated_while_it_may_be_the_whole_text() -> None:
    capability = Capability(limit=4096)
    script = [
        (0.0, Event(seq=1, type="content", data={"text": "Looking at it."})),
        (60.0, Event(seq=2, type="done", data={"result": None})),
    ]
    platform = Platform(capability, ["late"])
    receipt = Simulation(capability, script, platform).run()
    assert receipt.status == "uncertain"
    assert list(platform.messages.values()) == ["Looking at it."]


@pytest.mark.parametrize("fault", ["lost", "late", "later"])
def test_a_message_that_is_looked_for_delays_the_end_by_less_than_a_second(fault: str) -> None:
    """`later`: it appears when another one has been sent in its place, and is deleted."""
    capability = Capability(limit=4096, can_find=True)
    simulation = _simulated(capability, [fault, "", "", fault], 0.1)  # both sends
    assert simulation.end_at < 0.1 + 1.0
    assert len(simulation.platform.messages) == 1
    assert len(simulation.platform.deleted) == (2 if fault == "later" else 0)


def test_searches_without_an_answer_say_nothing() -> None:
    capability = Capability(limit=4096, can_find=True)
    simulation = _simulated(capability, ["late", "lost", "lost"], 0.1)
    assert simulation.receipt.status == "delivered"
    assert [kind for _, kind in simulation.platform.calls] == ["Send", "Find", "Find", "Find"]


def test_a_message_that_may_come_late_is_remembered_across_a_crash() -> None:
    capability = Capability(limit=4096, can_find=True)
    for step in range(4, 40):
        platform = Platform(capability, ["later"])
        crashes = [False] * step + [True]
        simulation = Simulation(capability, _stream(0.1), platform, crashes=crashes)
        receipt = simulation.run()
        check_end(simulation, receipt)
        assert (receipt.status, len(platform.messages)) == ("delivered", 1)


def test_the_end_is_there_once_where_no_answer_can_be_asked_for() -> None:
    """An earlier send got no answer. So the end comes by an edit, which repeats safely."""
    capability = Capability(limit=4096)
    for fault in ("lost", "late"):
        simulation = _simulated(capability, [fault, fault, fault, fault], 2.0)
        assert simulation.receipt.status == "delivered"
        assert simulation.receipt.strays == 4
        shown = [text for text in simulation.platform.messages.values() if "word79" in text]
        assert len(shown) == 1


def test_a_lost_message_is_not_sent_in_parts_for_ever() -> None:
    capability = Capability(limit=4096)
    simulation = _simulated(capability, ["late"] * 50, 2.0)
    assert simulation.receipt.status == "uncertain"
    assert simulation.receipt.strays <= 6


def test_a_first_message_that_was_refused_waits_for_the_penalty_and_no_longer() -> None:
    simulation = _simulated(Capability(limit=4096), ["limited 10"], 30.0)
    assert simulation.first_text_at < 0.5 + 0.05 + 10.0 + 0.1
