"""Hooks of a task's class and signals of its run: their arguments and order."""

from __future__ import annotations

import importlib
import os

import pytest

PRERUN = ["task_prerun", {}]


def postrun(state):
    return ["task_postrun", {"state": state}]


def failure(error, *, has_raised=True):
    """Return how a run ends by an error: the task's own, or one of storing."""
    return [
        ["before_start", [], True],
        ["on_failure", error, has_raised],
        ["task_failure", {}],
        ["after_return", "FAILURE", error, True, None],
        postrun("FAILURE"),
    ]


ENDS = {
    "works": (
        (7,),
        [
            PRERUN,
            ["before_start", [7], True],
            ["on_success", 7, [7], True],
            ["task_success", {"result": 7}],
            ["after_return", "SUCCESS", 7, True, None],
            postrun("SUCCESS"),
        ],
    ),
    "fails": (
        (),
        [PRERUN, *failure("KeyError")],
    ),
    "unready": (
        (),
        [PRERUN, *failure("ValueError")],
    ),
    "retries": (
        (),
        [
            PRERUN,
            ["before_start", [], True],
            ["on_retry", "ValueError('y')", True],
            ["task_retry", {}],
            postrun("RETRY"),
            PRERUN,
            *failure("ValueError"),
        ],
    ),
}
IN_WORKERS = ENDS | {
    "hostile": (
        (),
        [PRERUN, *failure("KeyError")],
    ),
    "unsendable": (
        (),
        [PRERUN, *failure("EncodeError", has_raised=False)],
    ),
    "rejects": (
        (),
        [PRERUN, ["before_start", [], True], ["task_failure", {}], postrun("REJECTED")],
    ),
}


def plain(notes):
    """Return notes without processes and tasks' names."""
    return [
        [part for part in note[:-1] if not str(part).startswith("hooked.")]
        for note in notes
        if note[0] != "worker_process_init"
    ]


@pytest.fixture(scope="module")
def hooked_tasks():
    # Importable once the package's fixture has run.
    return importlib.import_module("hooked_tasks")


@pytest.fixture(scope="module", params=["threads", "processes"])
def worker(request, hooked_tasks):
    with hooked_tasks.app.worker(concurrency=1, pool=request.param):
        yield request.param


@pytest.mark.parametrize("name", IN_WORKERS)
def test_hooks_and_signals_come_in_celerys_order(hooked_tasks, worker, name):
    args, expected = IN_WORKERS[name]
    hooked_tasks.notes.delay().get(timeout=20)
    task = getattr(hooked_tasks, name)
    task.delay(*args).get(timeout=20, propagate=False)
    # One slot: by then the other has told everything.
    notes = hooked_tasks.notes.delay().get(timeout=20)
    assert plain(notes) == expected
    is_here = {note[-1] == os.getpid() for note in notes}
    assert is_here == {worker == "threads"}


@pytest.mark.usefixtures("worker")
def test_value_that_is_not_stored_is_told_all_the_same(hooked_tasks):
    hooked_tasks.notes.delay().get(timeout=20)
    hooked_tasks.quiet.delay(7)
    value = {"x": 7}
    assert plain(hooked_tasks.notes.delay().get(timeout=20)) == [
        PRERUN,
        ["before_start", [7], True],
        ["on_success", value, [7], True],
        ["task_success", {"result": value}],
        ["after_return", "SUCCESS", value, True, None],
        postrun("SUCCESS"),
    ]


@pytest.mark.usefixtures("worker")
def test_ignored_run_has_no_end_but_the_last_signal(hooked_tasks):
    hooked_tasks.notes.delay().get(timeout=20)
    hooked_tasks.ignores.delay()
    assert plain(hooked_tasks.notes.delay().get(timeout=20)) == [
        PRERUN,
        ["before_start", [], True],
        postrun("IGNORED"),
    ]


@pytest.mark.parametrize("name", ENDS)
def test_hooks_and_signals_come_in_place(hooked_tasks, name):
    args, expected = ENDS[name]
    hooked_tasks.NOTES.clear()
    getattr(hooked_tasks, name).apply(args)
    assert plain(hooked_tasks.NOTES) == expected


def test_error_of_a_hook_in_place_is_the_callers(hooked_tasks):
    with pytest.raises(SystemExit):
        hooked_tasks.hostile.apply()


def test_run_in_place_that_raises_tells_its_last_signal(hooked_tasks):
    hooked_tasks.NOTES.clear()
    with pytest.raises(KeyError):
        hooked_tasks.fails.apply(throw=True)
    assert plain(hooked_tasks.NOTES)[-1] == postrun("FAILURE")
