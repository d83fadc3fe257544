"""Seed 001, "Managing task dependencies": its `delay` and its group.

Its chain and its retry are other issues' examples.
"""

from __future__ import annotations

import pytest

from celerant import group


@pytest.fixture
def tasks(myapp, capsys):
    @myapp.task
    def task1():
        print("Task 1 executed")  # noqa: T201 - the seed's own

    @myapp.task
    def task2():
        print("Task 2 executed")  # noqa: T201 - the seed's own

    @myapp.task
    def task3():
        print("Task 3 executed")  # noqa: T201 - the seed's own

    return task1, task2, task3


EXECUTED = ["Task 1 executed", "Task 2 executed", "Task 3 executed"]


def test_defining_task_dependencies(tasks, capsys):
    task1, task2, task3 = tasks

    # Enqueue tasks with dependencies
    sent = [task1.delay(), task2.delay(), task3.delay()]

    assert [result.get(timeout=20) for result in sent] == [None] * 3
    assert sorted(capsys.readouterr().out.splitlines()) == EXECUTED


def test_grouping_tasks(tasks, capsys):
    task1, task2, task3 = tasks

    # Grouping tasks
    result = group(task1.s(), task2.s(), task3.s()).apply_async()

    assert result.get(timeout=20) == [None] * 3
    assert sorted(capsys.readouterr().out.splitlines()) == EXECUTED
