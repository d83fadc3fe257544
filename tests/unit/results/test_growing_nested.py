"""Members that end in groups, of a group that is looked at while it is being sent."""

from __future__ import annotations

import pytest

from celerant.results.consuming.service import Service
from harness.groups import Fed
from harness.until import until

WAIT = 10
SIZE = 2


def inner_ids(index):
    return [f"inner-{index}-{at}" for at in range(2)]


def shape(index):
    """Return the shape of a member that ends in a group of two tasks."""
    return [(f"group-{index}", [[(task_id, None)] for task_id in inner_ids(index)])]


@pytest.mark.parametrize("first", [0, 1])
def test_groups_that_come_before_the_consumer_serves_the_outer_one_arrive(
    memory, first, monkeypatch
):
    fed, admit, admitted = Fed(memory), Service._admit, []

    def grow(start, stop):
        fed.grow(stop, shapes={index: shape(index) for index in range(start, stop)})

    def admit_late(self, served):
        if served is fed.members and not admitted:
            admitted.append(served)
            # The look has begun the inner groups that were there before.
            grow(first, SIZE)
        admit(self, served)

    monkeypatch.setattr(Service, "_admit", admit_late)
    grow(0, first)
    assert fed.members.look(WAIT)
    assert admitted
    for index in range(SIZE):
        for at, task_id in enumerate(inner_ids(index)):
            memory.store_result(task_id, at, "SUCCESS")
    # The seal comes after them: with a window, no more leave before these are done.
    until(lambda: fed.members.barrier.remaining == 0, WAIT)
    fed.seal()
    assert fed.result.get(timeout=WAIT) == [[0, 1]] * SIZE
