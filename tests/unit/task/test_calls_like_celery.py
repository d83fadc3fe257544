"""Forms in which Celery's programs call tasks and make signatures."""

from __future__ import annotations

import celery
import pytest

import celerant
from celerant import CanvasError, Celerant, Signature, Task, shared_task, signature


@pytest.fixture
def app():
    with Celerant("calls") as app:
        yield app


@pytest.fixture
def echo(app):
    @app.task(name="calls.echo", queue="calls-own")
    def echo(*args, **kwargs):
        return [list(args), kwargs]

    return echo


def nothing():
    """Never run."""


FORMS = {
    "s": lambda _lib, task: task.s(1, a=2),
    "si": lambda _lib, task: task.si(1, a=2),
    "signature of a name": lambda lib, _task: lib.signature("x", None, {"a": 1}),
    "app's signature": lambda _lib, task: task.app.signature("x", None, {"a": 1}),
    "task's signature": lambda _lib, task: task.signature(None, {"a": 1}),
    "task's subtask": lambda _lib, task: task.subtask(None, None),
    "clone": lambda _lib, task: task.s(1).clone(None, {"a": 1}),
    "clone with an option": lambda _lib, task: task.s(1).clone(None, None, priority=1),
    "clone of an immutable one": lambda _lib, task: task.si(1).clone(None, {"a": 1}),
    "partial": lambda _lib, task: task.s(1).partial(None, {"a": 1}),
    "list": lambda _lib, task: task.s(1).clone([0]),
    "signature of a task": lambda lib, task: lib.signature(task, (1,), {"a": 1}),
    "class of a task": lambda lib, task: lib.Signature(task, (1,), {"a": 1}),
}


@pytest.mark.parametrize("form", FORMS)
def test_signatures_are_made_as_in_celery(echo, form):
    made = celery.Celery("calls", set_as_current=False)
    theirs = made.task(name="calls.echo", shared=False)(nothing)
    ours = FORMS[form](celerant, echo)
    assert list(ours.items()) == list(FORMS[form](celery, theirs).items())


def test_signatures_of_a_task_have_nothing_in_common(echo):
    one, other = echo.s(1, x=2), echo.s(1, x=2)
    one["options"]["queue"] = "fast"
    one["kwargs"]["x"] = 3
    one["immutable"] = True
    assert other == echo.s(1, x=2) == Signature("calls.echo", (1,), {"x": 2})


@pytest.mark.parametrize("make", [signature, Signature])
def test_signature_of_a_task_object_is_sent_by_its_own_app(app, echo, make):
    Celerant("made-last")
    made = make(echo, (1,), {"a": 2})
    assert made.app is app
    with app.worker(concurrency=1, queues=["calls-own"]):
        assert made.delay().get(timeout=10) == [[1], {"a": 2}]


def test_signature_of_a_shared_task_is_the_current_apps():
    @shared_task(name="calls.shared")
    def shared(x):
        return x

    with Celerant("calls-shared") as app:
        for make in (signature, Signature):
            made = make(shared, (1,))
            assert (made.task, made.app) == ("calls.shared", app)


def test_signature_of_celerys_own_task_has_its_name(app):
    app.set_current()
    theirs = celery.Celery("calls", set_as_current=False)
    task = theirs.task(name="calls.theirs", shared=False)(nothing)
    made = signature(task, (1,))
    assert (made.task, made.app) == ("calls.theirs", app)


@pytest.mark.parametrize("make", [signature, Signature])
def test_signature_of_something_that_has_no_name_is_refused_at_the_send(app, make):
    app.set_current()
    with pytest.raises(CanvasError, match="must be text"):
        make(5, (1,)).delay()


def test_third_positional_argument_of_a_send_is_the_id(app, echo):
    sent = echo.apply_async((1,), {}, "my-id")
    assert sent.id == "my-id"
    with app.worker(concurrency=1, queues=["calls-own"]):
        assert sent.get(timeout=10) == [[1], {}]
    with pytest.raises(TypeError, match="task_id"):
        echo.apply_async((1,), {}, "my-id", task_id="other")
    with pytest.raises(TypeError, match="positional"):
        echo.apply_async((1,), {}, *[None] * 6)


def test_more_arguments_by_position_are_celerys(app):
    seen = []

    @app.task
    def note(*args):
        seen.append(args)

    @app.task
    def fail():
        raise ValueError

    app.conf.task_always_eager = True
    note.apply_async((1,), {}, None, None, note.si("linked"), None, "shadow")
    fail.apply((), {}, None, note.si("failed"), "my-id")
    assert note.apply((2,), None, note.si("applied")).successful()
    assert seen == [(1,), ("linked",), ("failed",), (2,), ("applied",)]
    assert note.apply((3,), {}, None, None, "my-id").id == "my-id"


class Celerys(Task):
    """As Celery's subclasses write it."""

    def apply_async(
        self,
        args=None,
        kwargs=None,
        task_id=None,
        producer=None,
        link=None,
        link_error=None,
        shadow=None,
        **options,
    ):
        return super().apply_async(
            args, kwargs, task_id, producer, link, link_error, shadow, **options
        )


def test_class_that_passes_all_on_by_position_is_sent(app):
    double = app.task(base=Celerys, name="calls.double")(lambda x: 2 * x)
    with app.worker(concurrency=1):
        assert double.delay(2).get(timeout=10) == 4
        sent = celerant.group(double.s(i) for i in range(3))()
        assert sent.get(timeout=10) == [0, 2, 4]
        assert (double.s(1) | double.s()).delay().get(timeout=10) == 4
