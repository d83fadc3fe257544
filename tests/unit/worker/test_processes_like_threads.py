"""What a task in a child process does to its worker, as a task in a thread does."""

from __future__ import annotations

import logging
import sys
import textwrap
import uuid
from types import SimpleNamespace

import pytest

from celerant.context.request import Request
from celerant.worker.changes import apply_changes, changes_since, followers_of
from harness.until import until

pytestmark = pytest.mark.timeout(60)

MODULE = """
    import os
    from celerant import Celerant
    app = Celerant({name!r}, task_default_queue={name!r}, task_serializer="pickle",
                   result_serializer={serializer!r}, accept_content=["pickle", "json"],
                   result_accept_content=["pickle", "json"])

    class Point:
        x = 7
        def __reduce__(self):
            return Point, ()
        def __repr__(self):
            return "a point"

    class CodedError(Exception):
        def __init__(self, text, code=0):
            super().__init__(text)
            self.code = code
        def __reduce__(self):
            return CodedError, (self.args[0], self.code)

    def leave():
        raise SystemExit

    class Trap:
        def __reduce__(self):
            return leave, ()

    VALUES = {{"tuple": (1, 2), "set": {{1, 2}}, "point": Point(), "text": "a",
              "deep": [{{"a": (1, {{2}})}}], "trap": Trap()}}

    @app.task(ignore_result=True)
    def give(kind):
        return VALUES[kind]

    @app.task
    def give_and_store(kind):
        return VALUES[kind]

    @app.task
    def show(value):
        return [type(value).__name__, repr(value)]

    @app.task
    def fail():
        raise CodedError("no", code=7)

    @app.task(bind=True, max_retries=0)
    def fail_last(self):
        raise self.retry(exc=CodedError("no", code=7), countdown=0)

    @app.task(bind=True)
    def stop_chain(self):
        self.request.chain = None
        return os.getpid()

    @app.task(bind=True)
    def stop_callbacks(self):
        self.request.callbacks = None

    @app.task(bind=True)
    def add_step(self, task_id):
        self.request.chain = [show.s().set(task_id=task_id)]
        return "new"

    @app.task(bind=True)
    def add_callback(self, task_id):
        self.request.callbacks.append(show.s().set(task_id=task_id))
        return "more"

    @app.task(bind=True)
    def change_step(self):
        self.request.chain[-1]["args"] = ("changed",)
        self.request.chain[-1]["immutable"] = True

    @app.task(bind=True)
    def change_errbacks(self, task_id):
        self.request.errbacks = [show.si("told").set(task_id=task_id)]
        raise KeyError

    @app.task(bind=True)
    def put_in_what_cannot_leave(self):
        self.request.callbacks = [lambda: None]
"""


@pytest.fixture(params=["threads", "processes"])
def pool(request):
    return request.param


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes a module of tasks for a serializer of results."""
    made = []

    def module(serializer="json"):
        name = f"celerant_{uuid.uuid4().hex[:8]}"
        code = MODULE.format(name=name, serializer=serializer)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(str(tmp_path))
        __import__(name)
        made.append(sys.modules[name])
        return made[-1]

    yield module
    for one in made:
        one.app.close()


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("tuple", ["tuple", "(1, 2)"]),
        ("set", ["set", "{1, 2}"]),
        ("point", ["Point", "a point"]),
        ("text", ["str", "'a'"]),
        ("deep", ["list", "[{'a': (1, {2})}]"]),
    ],
)
def test_value_reaches_the_next_step_by_the_serializer_of_tasks(
    make, pool, kind, shown
):
    tasks = make()
    with tasks.app.worker(1, pool):
        step = (tasks.give.s(kind) | tasks.show.s()).apply_async()
        callback = tasks.show.s().set(task_id=uuid.uuid4().hex)
        tasks.give.apply_async((kind,), link=callback)
        assert step.get(timeout=20) == shown
        told = tasks.app.AsyncResult(callback.options["task_id"])
        assert told.get(timeout=20) == shown


def test_value_that_cannot_be_stored_fails_its_task(make, pool):
    tasks = make()
    with tasks.app.worker(1, pool):
        step = (tasks.give_and_store.s("set") | tasks.show.s()).apply_async()
        first = step.parent.get(timeout=20, propagate=False)
        assert type(first).__name__ == "EncodeError"


def test_value_that_cannot_be_read_in_the_worker_fails_its_task(make):
    tasks = make()
    with tasks.app.worker(1, "processes"):
        step = (tasks.give_and_store.s("trap") | tasks.show.s()).apply_async()
        assert step.get(timeout=20, propagate=False)
        assert step.state == "FAILURE"
        assert tasks.show.delay(1).get(timeout=20)


@pytest.mark.parametrize("name", ["fail", "fail_last"])
def test_exception_is_stored_as_the_serializer_of_results_has_it(make, pool, name):
    tasks = make("pickle")
    with tasks.app.worker(1, pool):
        raised = getattr(tasks, name).delay().get(timeout=20, propagate=False)
    assert (type(raised), raised.code) == (tasks.CodedError, 7)


def test_task_takes_away_what_follows_it(make, pool):
    tasks = make()
    with tasks.app.worker(1, pool):
        chain = (tasks.stop_chain.s() | tasks.show.s()).apply_async()
        callback = tasks.show.s().set(task_id=uuid.uuid4().hex)
        tasks.stop_callbacks.apply_async(link=callback)
        assert chain.parent.get(timeout=20)
        # One slot: what was sent before has run by now.
        for _ in range(3):
            tasks.show.delay(1).get(timeout=20)
        told = tasks.app.AsyncResult(callback.options["task_id"])
        assert [chain.state, told.state] == ["PENDING", "PENDING"]


def test_task_changes_what_follows_it(make, pool):
    tasks = make()
    with tasks.app.worker(1, pool):
        ids = [uuid.uuid4().hex for _ in range(3)]
        tasks.add_step.delay(ids[0])
        first = tasks.show.s().set(task_id=uuid.uuid4().hex)
        tasks.add_callback.apply_async((ids[1],), link=first)
        tasks.change_errbacks.delay(ids[2])
        changed = (tasks.change_step.s() | tasks.show.s()).apply_async()
        values = [tasks.app.AsyncResult(one).get(timeout=20)[1] for one in ids]
        assert values == ["'new'", "'more'", "'told'"]
        assert changed.get(timeout=20) == ["str", "'changed'"]


def test_task_that_makes_its_request_unfit_to_travel_fails(make):
    tasks = make()
    with tasks.app.worker(1, "processes"):
        result = tasks.put_in_what_cannot_leave.delay()
        error = result.get(timeout=20, propagate=False)
        assert "lambda" in str(error)
        assert tasks.show.delay(1).get(timeout=20)


@pytest.mark.parametrize("kind", ["deep", "text", "point"])
def test_log_shows_a_value_that_is_not_stored(make, pool, kind, caplog):
    caplog.set_level(logging.INFO, "celerant.worker")
    tasks = make()
    with tasks.app.worker(1, pool):
        tasks.give.delay(kind)
        until(lambda: " succeeded in " in caplog.text)
    assert f"s: {tasks.VALUES[kind]!r}" in caplog.text


def test_all_that_follows_a_task_comes_back_only_if_it_was_changed():
    request = Request("id", "task")
    assert changes_since(followers_of(request), request) is None
    request.chord, request.errbacks = {"task": "body"}, [{"task": "errback"}]
    before = followers_of(request)
    assert changes_since(before, request) is None
    request.chord["task"] = "other"
    changes = changes_since(before, request)
    assert changes is not None
    parents = SimpleNamespace(chain=[1], chord=None, errbacks=None, callbacks=None)
    apply_changes(parents, changes)
    assert vars(parents) == {
        "chain": None,
        "callbacks": None,
        "chord": {"task": "other"},
        "errbacks": [{"task": "errback"}],
    }
