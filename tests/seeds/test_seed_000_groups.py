"""Seed 000, "Working with task groups": its code with `celerant` for `celery`."""

from __future__ import annotations

import pytest

from celerant import group


@pytest.fixture
def my_tasks(myapp):
    def make(number):
        @myapp.task(name=f"my_task_{number}")
        def my_task(a, b):
            return number, a, b

        return my_task

    return [make(number) for number in range(1, 6)]


def test_task_groups(my_tasks):
    my_task_1, my_task_2, my_task_3, my_task_4, my_task_5 = my_tasks
    arg1, arg2, arg3, arg4, arg5, arg6, arg7, arg8, arg9, arg10 = range(1, 11)

    # Define the tasks
    task1 = my_task_1.s(arg1, arg2)
    task2 = my_task_2.s(arg3, arg4)
    task3 = my_task_3.s(arg5, arg6)

    # Create the task group
    group_tasks = group(task1, task2, task3)

    # Add more tasks to the task group
    group_tasks.add(my_task_4.s(arg7, arg8))
    group_tasks.add(my_task_5.s(arg9, arg10))

    # Execute the task group
    result = group_tasks.apply_async()

    # Wait for the task group to complete
    result.wait()

    # Get the result of each task
    results = result.get()

    assert results == [[1, 1, 2], [2, 3, 4], [3, 5, 6], [4, 7, 8], [5, 9, 10]]
