"""Copies in the process stay with their app, though other apps have its name."""

from __future__ import annotations

import copy

import pytest

from celerant import Celerant, group

COPIES = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])


@pytest.fixture
def twins():
    """Some apps of one name, the one that was made last last."""
    apps = [Celerant("twins") for _ in range(4)]
    yield apps
    for app in apps:
        app.close()


@COPIES
def test_a_copy_of_a_result_asks_its_own_store(twins, copied):
    for app in twins:
        result = app.AsyncResult("one")
        assert copied(result) == result
        assert copied(result).backend is app.backend


@COPIES
def test_a_copy_of_a_group_s_result_has_its_values(twins, copied):
    for number, app in enumerate(twins):
        one = app.task(name="one")(lambda number=number: number)
        with app.worker(concurrency=1):
            result = group([one.s(), one.s()]).apply_async()
            assert copied(result).get(timeout=10) == [number, number]


@COPIES
def test_a_copy_of_what_ran_here_has_its_value(twins, copied):
    result = twins[0].task(name="one")(lambda: [1]).apply()
    made = copied(result)
    assert made.get() == [1]
    assert made is not result


@COPIES
def test_a_task_is_its_own_copy(twins, copied):
    for app in twins:
        task = app.task(name="one")(lambda: 1)
        assert copied(task) is task
        assert copied(task.s()).app is app
