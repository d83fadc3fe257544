"""Seed 001, "Managing task dependencies": its code with `celerant` for `celery`."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

from celerant import Retry, chord, group


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


def test_chaining_tasks_as_written_gives_the_second_task_an_argument(tasks, capsys):
    task1, task2, task3 = tasks

    # Chaining tasks
    result = (task1.s() | task2.s() | task3.s()).apply_async()

    # `task2` takes no arguments, and would get what `task1` returned: the seed wants
    # `si`. The worker says so where it is to send `task2`.
    with pytest.raises(TypeError, match=r"task2: too many positional arguments"):
        result.get(timeout=20)
    assert capsys.readouterr().out.splitlines() == EXECUTED[:1]
    states = [result.parent.parent.state, result.parent.state, result.state]
    assert states == ["FAILURE"] * 3


def test_chaining_tasks(tasks, capsys):
    task1, task2, task3 = tasks

    result = (task1.si() | task2.si() | task3.si()).apply_async()

    assert result.get(timeout=20) is None
    # One after the other, in this order.
    assert capsys.readouterr().out.splitlines() == EXECUTED


def test_chaining_tasks_that_take_a_result(myapp):
    @myapp.task
    def task1():
        return ["Task 1 executed"]

    @myapp.task
    def task2(before):
        return [*before, "Task 2 executed"]

    @myapp.task
    def task3(before):
        return [*before, "Task 3 executed"]

    result = (task1.s() | task2.s() | task3.s()).apply_async()

    assert result.get(timeout=20) == EXECUTED


def test_grouping_tasks(tasks, capsys):
    task1, task2, task3 = tasks

    # Grouping tasks
    result = group(task1.s(), task2.s(), task3.s()).apply_async()

    assert result.get(timeout=20) == [None] * 3
    assert sorted(capsys.readouterr().out.splitlines()) == EXECUTED


def test_a_task_after_all_of_a_group(tasks, myapp, capsys):
    task1, task2, task3 = tasks

    @myapp.task
    def after(values):
        return values, sorted(capsys.readouterr().out.splitlines())

    result = chord([task1.s(), task2.s(), task3.s()])(after.s())

    assert result.get(timeout=20) == [[None] * 3, EXECUTED]


@pytest.mark.parametrize("failures", [2, 3, 4])
def test_retrying_failed_tasks(myapp, failures):
    runs = []

    # The seed waits 10 s between retries.
    @myapp.task(bind=True, max_retries=3, default_retry_delay=0)
    def task1(self):
        runs.append(self.request.retries)
        try:
            # Task logic here
            if len(runs) <= failures:
                raise ConnectionError("not yet")  # noqa: TRY301 - as the seed has it
        except Exception as e:  # noqa: BLE001 - the seed's own
            self.retry(exc=e)
        return "done"

    result = task1.delay()

    if failures <= 3:
        assert result.get(timeout=20) == "done"
    else:
        with pytest.raises(ConnectionError, match="not yet"):
            result.get(timeout=20)
    assert runs == list(range(min(failures, 3) + 1))


def test_a_retry_waits_as_long_as_the_task_says(myapp):
    waits = SimpleQueue()

    @myapp.task(bind=True, max_retries=3, default_retry_delay=10)
    def task1(self):
        try:
            self.retry(exc=ConnectionError("not yet"))
        except Retry as retry:
            waits.put(retry.when)
            raise

    task1.delay()

    assert waits.get(timeout=20) == 10
