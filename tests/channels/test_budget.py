"""How often a scope is called."""

from runcast.channels.budget import Budget, Budgets
from runcast.channels.capability import Capability


def budget(interval_s: float = 1.0, slots: int = 5, reserved: int = 2) -> Budget:
    return Budget(
        Capability(limit=100, interval_s=interval_s, slots=slots, window_s=60.0, reserved=reserved)
    )


def test_the_first_call_waits_for_nothing() -> None:
    assert budget().earliest(0.0, is_important=False) <= 0.0


def test_growing_text_keeps_the_pause_and_the_end_does_not() -> None:
    made = budget()
    made.spend(10.0)
    assert made.earliest(10.1, is_important=False) == 11.0
    assert made.earliest(10.1, is_important=True) <= 10.1


def test_slots_are_reserved_for_the_end() -> None:
    made = budget()
    for second in range(3):
        made.spend(float(second))
    assert made.earliest(10.0, is_important=False) == 60.0
    assert made.earliest(10.0, is_important=True) <= 10.0
    made.spend(10.0)
    made.spend(11.0)
    assert made.earliest(12.0, is_important=True) == 60.0


def test_a_penalty_blocks_everything_and_slows_growing_text() -> None:
    made = budget()
    made.penalise(100.0, 5.0)
    assert made.earliest(101.0, is_important=True) == 105.0
    made.spend(105.0)
    assert made.earliest(105.0, is_important=False) == 105.0 + 5.0 * 1.1


def test_a_long_penalty_does_not_slow_the_text_for_ever() -> None:
    made = budget()
    made.penalise(0.0, 240.0)
    assert made.interval_s(0.0) == 30.0
    assert made.interval_s(3600.0) == 1.0


def test_where_sends_and_edits_are_counted_apart_each_has_its_own_slots() -> None:
    made = Budget(Capability(limit=100, slots=2, window_s=60.0, reserved=0, counts_apart=True))
    made.spend(1.0, "edit")
    made.spend(2.0, "edit")
    assert made.earliest(3.0, is_important=True, group="edit") == 61.0
    assert made.earliest(3.0, is_important=True, group="send") <= 3.0
    made.hold(3.0, 5.0, "send")
    assert made.earliest(3.0, is_important=True, group="send") == 8.0
    assert made.earliest(3.0, is_important=True, group="other") <= 3.0
    assert made.held_until == 8.0
    made.penalise(4.0, 10.0)
    assert made.earliest(5.0, is_important=True, group="other") == 14.0


def test_a_platform_that_counts_all_calls_together_holds_all_of_them() -> None:
    made = budget()
    made.hold(3.0, 5.0, "edit")
    assert made.earliest(3.0, is_important=True, group="send") == 8.0
    assert made.held_until == made.blocked_until == 8.0


def test_deliveries_to_one_scope_share_a_budget() -> None:
    budgets = Budgets(Capability(limit=100))
    assert budgets.of("a") is budgets.of("a")
    assert budgets.of("a") is not budgets.of("b")
