"""`self.request` has all that Celery's has."""

from __future__ import annotations

import inspect

import celery
import pytest
from celery.app.task import Context

from celerant import Celerant
from celerant.context.request import Request

PUBLIC = sorted(name for name in vars(Context) if not name.startswith("_"))


@pytest.fixture
def app():
    with Celerant("requests") as app:
        yield app


@pytest.mark.parametrize("name", PUBLIC)
def test_every_field_and_method_of_celerys_is_there(name):
    request = Request("id", "task")
    assert callable(getattr(request, name)) == inspect.isfunction(vars(Context)[name])


def test_request_of_a_message_holds_its_fields(app):
    @app.task(bind=True)
    def tells(self, *_args, **_kwargs):
        request = self.request
        return {
            "user": request.properties["user_id"],
            "args": request.argsrepr,
            "kwargs": request.kwargsrepr,
            "utc": request.utc,
            "lang": request.lang,
            "taskset": request.taskset == request.group,
            "log": [request.logfile, request.loglevel],
            "options": request.as_execution_options()["task_id"] == request.id,
            "header": request.get("mine"),
            "none": request.get("missing"),
        }

    with app.worker():
        found = tells.apply_async(
            (1, "x"), {"y": 2}, user_id="guest", headers={"mine": 5}
        ).get(timeout=10)
    assert found == {
        "user": "guest",
        "args": "(1, 'x')",
        "kwargs": "{'y': 2}",
        "utc": None,
        "lang": "py",
        "taskset": True,
        "log": [None, None],
        "options": True,
        "header": 5,
        "none": None,
    }


def test_options_of_a_run_are_celerys():
    told = {
        "id": "i",
        "root_id": "r",
        "parent_id": "p",
        "group": "g",
        "group_index": 3,
        "retries": 2,
        "timelimit": (9, 8),
        "expires": "2030-01-01",
        "reply_to": "q",
        "origin": "o",
        "headers": {"mine": 1, "x-death": []},
        "stamped_headers": ["s"],
        "stamps": {"s": [1], "other": [2]},
        "callbacks": [{"task": "c"}],
        "shadow": "name",
    }
    ours = Request(told["id"], "task", **{k: v for k, v in told.items() if k != "id"})
    theirs = Context(told, called_directly=False)
    assert ours.as_execution_options() == theirs.as_execution_options()


def test_request_is_updated_and_cleared():
    request = Request("i", "task", headers={"a": 1})
    request.update({"retries": 3}, mine="x")
    assert (request.retries, request.mine, request.a) == (3, "x", 1)
    request.clear()
    assert (request.id, request.retries, request.headers) == (None, 0, {})
    assert request.called_directly


@pytest.mark.parametrize("library", ["celery", "celerant"])
def test_log_of_a_run_in_place_is_told(library):
    if library == "celery":
        app, extra = celery.Celery("r", set_as_current=False), {"shared": False}
    else:
        app, extra = Celerant("r"), {}

    @app.task(bind=True, name="r.task", **extra)
    def tells(self):
        return [self.request.logfile, self.request.loglevel]

    assert tells.apply(logfile="f", loglevel=3).get() == ["f", 3]
    assert tells.apply().get() == [None, 0]


def test_task_that_is_called_as_a_function_has_no_id(app):
    @app.task(bind=True)
    def look(self):
        return self.request.id

    assert look.request.id is None
    assert look() is None
    request = Request("id", "task")
    request.clear()
    assert request.id is None
