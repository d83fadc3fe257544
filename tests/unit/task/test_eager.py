"""Control flow of tasks that run in place, beside stock Celery's."""

from __future__ import annotations

import celery
import celery.exceptions
import pytest

import celerant

LIBRARIES = ["celery", "celerant"]


class BurstError(Exception):
    """The error of the tasks."""


def make(library):
    """Return the library's app, its exceptions and its canvases."""
    if library == "celery":
        app = celery.Celery(
            "eager", broker="memory://", backend="cache+memory://", set_as_current=False
        )
        return app, celery.exceptions, celery, {"shared": False}
    return celerant.Celerant("eager"), celerant, celerant, {}


@pytest.fixture(params=LIBRARIES)
def side(request):  # noqa: C901 - a task each
    """One side with the tasks."""
    app, exceptions, canvas, common = make(request.param)
    seen = []

    @app.task(name="e.add", **common)
    def add(x, y):
        seen.append(x + y)
        return x + y

    @app.task(name="e.again", bind=True, max_retries=2, **common)
    def again(self, times):
        seen.append(self.request.retries)
        if self.request.retries < times:
            raise self.retry(exc=BurstError("not yet"))
        return self.request.retries

    @app.task(name="e.changed", bind=True, **common)
    def changed(self, value):
        if self.request.retries == 0:
            raise self.retry(args=(value + 1,), countdown=600)
        return [value, self.request.id, self.request.is_eager]

    @app.task(name="e.limit", bind=True, max_retries=0, **common)
    def limit(self):
        raise self.retry()

    @app.task(name="e.bare", **common)
    def bare():
        raise exceptions.Retry

    @app.task(name="e.ignore", **common)
    def ignore():
        raise exceptions.Ignore("a")

    @app.task(name="e.reject", **common)
    def reject():
        raise exceptions.Reject("a", requeue=False)

    @app.task(name="e.fail", **common)
    def fail():
        raise BurstError("no")

    @app.task(name="e.replace", bind=True, **common)
    def replace(self):
        return self.replace(add.s(1, 2))

    @app.task(name="e.errback", **common)
    def errback(request, exc, traceback):
        seen.append(("errback", type(exc).__name__, bool(traceback)))

    @app.task(name="e.late", **common)
    def late(task_id):
        seen.append(("late", task_id))

    tasks = {name: task for name, task in locals().items() if hasattr(task, "delay")}
    yield app, seen, tasks, canvas
    app.close()


def look(result, task_id="the-id"):
    """Return the state of a finished result, in terms of both libraries."""
    try:
        got = result.get()
    except Exception as exc:  # noqa: BLE001 - looked at as a value
        got = f"raises {type(exc).__name__.removesuffix('Error')}"
    value = result.result
    if isinstance(value, BaseException):
        value = type(value).__name__.removesuffix("Error")
    assert result.ready()
    assert result.id == task_id
    return result.state, value, got


#: (task, arguments) and the outcome, the same on both sides.
CASES = {
    "value": ("add", (1, 2), ("SUCCESS", 3, 3)),
    "retried": ("again", (2,), ("SUCCESS", 2, 2)),
    "retried too often": ("again", (3,), ("FAILURE", "Burst", "raises Burst")),
    "changed": ("changed", (1,), ("SUCCESS", [2, "the-id", True], [2, "the-id", True])),
    "limit": (
        "limit",
        (),
        ("FAILURE", "MaxRetriesExceeded", "raises MaxRetriesExceeded"),
    ),
    "bare": ("bare", (), ("RETRY", "Retry", None)),
    "ignore": ("ignore", (), ("IGNORED", "Ignore", None)),
    "reject": ("reject", (), ("REJECTED", "Reject", None)),
    "fail": ("fail", (), ("FAILURE", "Burst", "raises Burst")),
    "replace": ("replace", (), ("SUCCESS", 3, 3)),
}


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_task_in_place_ends_as_in_celery(side, case, always):
    app, _, tasks, _ = side
    name, args, expected = CASES[case]
    app.conf.task_always_eager = always
    run = tasks[name].apply_async if always else tasks[name].apply
    if always and name == "replace" and isinstance(app, celery.Celery):
        # It refuses its own wait for the replacement there.
        expected = ("FAILURE", "Runtime", "raises Runtime")
    assert look(run(args, task_id="the-id")) == expected


@pytest.mark.parametrize("case", CASES)
def test_propagated_errors_are_raised_as_in_celery(side, case):
    app, _, tasks, _ = side
    name, args, (state, value, _) = CASES[case]
    app.conf.task_eager_propagates = True
    # As in Celery, a Retry propagates too.
    retries = name in {"again", "changed", "bare"}
    raised = "Retry" if retries else value if state == "FAILURE" else None
    if raised is None:
        assert tasks[name].apply(args).state == state
        return
    with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
        tasks[name].apply(args)
    assert type(caught.value).__name__.removesuffix("Error") == raised


def test_callbacks_run_in_place_if_the_task_does(side):
    app, seen, tasks, _ = side
    app.conf.task_always_eager = True
    add = tasks["add"]
    result = add.apply((1, 2), link=[add.s(10), add.s(20)])
    assert result.get() == 3
    assert seen == [3, 13, 23]


@pytest.mark.parametrize("how", ["option", "signature"])
def test_errbacks_are_told_of_a_failure(side, how):
    app, seen, tasks, _ = side
    app.conf.task_always_eager = True
    errbacks = [tasks["errback"].s(), tasks["late"].s()]
    if how == "option":
        tasks["fail"].apply(link_error=errbacks, task_id="the-id")
    else:
        failing = tasks["fail"].s().set(task_id="the-id")
        for errback in errbacks:
            failing.link_error(errback)
        failing.apply()
    assert seen == [("errback", "BurstError", True), ("late", "the-id")]


@pytest.mark.parametrize("name", ["ignore", "reject"])
def test_ignored_task_has_no_next_step(side, name):
    app, seen, tasks, _ = side
    app.conf.task_always_eager = True
    tasks[name].apply(link=tasks["late"].s(), link_error=tasks["late"].s())
    assert seen == []


def test_retries_begin_at_the_number_of_the_call(side):
    _, seen, tasks, _ = side
    assert tasks["again"].apply((2,), retries=1).get() == 2
    assert seen == [1, 2]


def test_a_group_in_place_has_retried_and_ignored_members(side):
    _, _, tasks, canvas = side
    members = [tasks["again"].s(1), tasks["ignore"].s(), tasks["add"].s(1, 2)]
    result = canvas.group(members).apply()
    assert result.get() == [1, None, 3]
    assert [member.state for member in result] == ["SUCCESS", "IGNORED", "SUCCESS"]
