from __future__ import annotations

from celerant.worker.schedule import Schedule


def test_items_leave_in_the_order_of_their_times_and_equal_times_in_order_of_arrival():
    held = Schedule()
    for due, item in [(3, "c"), (1, "a"), (2, "b"), (2, "B")]:
        held.add(due, item)
    assert [held.pop_due(9) for _ in range(5)] == ["a", "b", "B", "c", None]


def test_items_do_not_leave_before_their_time():
    held = Schedule()
    held.add(5, "x")
    assert held.pop_due(4.9) is None
    assert held.pop_due(5) == "x"


def test_add_says_whether_the_next_time_changed():
    held = Schedule()
    assert held.add(5, "x")
    assert not held.add(6, "y")
    assert held.add(4, "z")
    assert held.next_due() == 4


def test_delay_is_bounded_on_both_sides():
    held = Schedule()
    assert held.delay(0, 1.0) == 1.0
    held.add(10, "x")
    assert held.delay(0, 1.0) == 1.0
    assert held.delay(9.75, 1.0) == 0.25
    assert held.delay(99, 1.0) == 0.0


def test_clear_takes_all_in_order_also_incomparable_values():
    held = Schedule()
    items = [object(), object()]
    held.add(2, items[1])
    held.add(1, items[0])
    assert held.clear() == items
    assert held.next_due() is None
    assert len(held) == 0
