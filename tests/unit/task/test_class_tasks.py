"""Instances of classes of the user's own that are registered, as in Celery."""

from __future__ import annotations

import queue

import celery
import pytest

import celerant
from celerant import Celerant, Task
from celerant.app.task_queues import queues_of_tasks

WAIT = 10


@pytest.fixture
def app():
    with Celerant("class-tasks") as app:
        yield app


def _told_of_a_failure(library, app):
    """Return what errbacks of a class and of a function are told, run in place."""
    told = []

    class OfClass(library.Task):
        name = "of_class"

        def run(self, uuid, note="x"):
            told.append((uuid, note))

    @app.task(name="of_function")
    def of_function(request, exc, traceback=None):
        told.append((request.id, type(exc).__name__))

    @app.task(name="boom")
    def boom():
        raise ValueError

    app.register_task(OfClass())
    app.conf.task_always_eager = True
    failing = boom.s()
    failing.link_error(app.tasks["of_class"].s())
    failing.link_error(app.tasks["of_function"].s())
    failing.apply_async(task_id="the-id")
    return sorted(told)


def test_errback_of_a_class_is_sent_the_id_as_in_celery(app):
    theirs = celery.Celery("class-tasks", set_as_current=False)
    told = _told_of_a_failure(celerant, app)
    assert told == [("the-id", "ValueError"), ("the-id", "x")]
    assert told == _told_of_a_failure(celery, theirs)


def test_errback_of_a_class_is_sent_the_id_by_a_worker(app):
    told = queue.SimpleQueue()

    class OfClass(Task):
        name = "of_class"

        def run(self, uuid, note="x"):
            told.put((uuid, note))

    @app.task
    def boom():
        raise ValueError

    errback = app.register_task(OfClass)
    with app.worker(concurrency=1):
        result = boom.s().on_error(errback.s()).apply_async()
        assert told.get(timeout=WAIT) == (result.id, "x")


class Injecting(Task):
    name = "injecting"

    def __call__(self, *args, **kwargs):
        return self.run("db", *args, **kwargs)

    def run(self, db, x):
        return [db, x]


class Inheriting(Injecting):
    name = "inheriting"


@pytest.mark.parametrize("cls", [Injecting, Inheriting])
def test_class_whose_call_adds_arguments_is_sent_and_run_as_in_celery(app, cls):
    task = app.register_task(cls())
    # As after a change of `app.Task`.
    assert app.register_task(task) is task
    assert task.apply((1,)).get() == ["db", 1]
    with app.worker(concurrency=1):
        assert task.delay(1).get(timeout=WAIT) == ["db", 1]
        assert task.s(x=1).delay().get(timeout=WAIT) == ["db", 1]
        with pytest.raises(TypeError, match="positional"):
            task.delay(1, 2).get(timeout=WAIT)


def test_errback_of_a_class_is_sent_the_id_by_celerys_worker(app):
    told = []

    class OfClass(Task):
        name = "told_there"

        def run(self, uuid, note="x"):
            told.append((uuid, note))

    @app.task(name="fails_there")
    def boom():
        raise ValueError

    app.register_task(OfClass)
    theirs = app.to_celery()
    theirs.conf.task_always_eager = True
    failing = theirs.tasks["fails_there"].s().on_error(theirs.tasks["told_there"].s())
    failing.apply_async(task_id="the-id")
    assert told == [("the-id", "x")]


def test_a_class_is_a_task_of_the_celery_app_and_the_doctor_knows_its_queue(app):
    class OfClass(Task):
        name = "counted"
        queue = "of-classes"

        def run(self, x):
            return x + 1

    app.register_task(OfClass)
    app.conf.task_always_eager = True
    theirs = app.to_celery()
    assert theirs.tasks["counted"].delay(1).get() == 2
    assert "of-classes" in queues_of_tasks(app)
