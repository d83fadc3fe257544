"""``pydantic=True``: the same values arrive as with Celery."""

from __future__ import annotations

import abc
import functools
from datetime import date
from typing import Any, Optional

import celery
import pytest
from pydantic import BaseModel, ValidationError

import celerant
from celerant import Celerant, EncodeError, SettingError, TaskError, group


class Point(BaseModel):
    x: int
    day: date = date(2020, 1, 2)


class Special(Point):
    more: int = 1


def scaled(point: Point, by: int = 2) -> Point:
    return Point(x=point.x * by, day=point.day)


def maybe(point: Point | None = None) -> Optional[Point]:  # noqa: UP045 - the older form
    return point


def other(point: Point) -> dict:
    return {"kind": type(point).__name__, "x": point.x}


class Shape(abc.ABC):  # noqa: B024 - only a name
    pass


class Circle(Point, Shape):
    pass


def shape() -> Shape:
    return Circle(x=1)


def maybe_shape() -> Shape | None:
    return Circle(x=1)


def something() -> object:
    return Circle(x=1)


def anything() -> Any:
    return {"x": 1}


def not_a_model() -> Shape:
    return {"x": 1}


def logged(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


CALLS = [
    (scaled, ({"x": 1},), {}),
    (scaled, ({"x": "4"},), {"by": 3}),
    (scaled, (Point(x=5),), {}),
    (scaled, (), {"point": Point(x=5)}),
    (maybe, (), {}),
    (maybe, (None,), {}),
    (maybe, ({"x": 3},), {}),
    (other, ({"x": 3, "more": 4},), {}),
    (logged(other), ({"x": "3"},), {}),
    (logged(scaled), (Point(x=5),), {}),
    (logged(logged(scaled)), (), {"point": {"x": 5}, "by": 3}),
    (shape, (), {}),
    (maybe_shape, (), {}),
    (something, (), {}),
    (anything, (), {}),
    (not_a_model, (), {}),
]


def eager(library, function, args, kwargs, **options):
    if library is celery:
        app, options = (
            celery.Celery("m", set_as_current=False),
            {**options, "shared": False},
        )
    else:
        app = Celerant("m")
    app.conf.update(task_always_eager=True)
    task = app.task(name="m.task", pydantic=True, **options)(function)
    return task.apply_async(args, kwargs).get()


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    CALLS,
    ids=[f"{i}-{call[0].__name__}" for i, call in enumerate(CALLS)],
)
def test_values_are_celerys(function, args, kwargs):
    theirs = eager(celery, function, args, kwargs)
    assert eager(celerant, function, args, kwargs) == theirs


@pytest.fixture
def app():
    with Celerant("models") as app:
        yield app


def test_models_are_sent_run_and_returned(app):
    task = app.task(pydantic=True)(scaled)
    with app.worker():
        assert task.delay(Point(x=2)).get(timeout=10) == {"x": 4, "day": "2020-01-02"}
        found = group(task.s(Point(x=i), by=3) for i in range(3))().get(timeout=10)
        assert [point["x"] for point in found] == [0, 3, 6]
        assert (task.s(Point(x=2)) | task.s()).delay().get(timeout=10)["x"] == 8


def test_decorated_function_gets_models(app):
    task = app.task(pydantic=True, name="models.other")(logged(other))
    with app.worker():
        sent = task.delay({"x": "2"})
        assert sent.get(timeout=10) == {"kind": "Point", "x": 2}
        with pytest.raises(TaskError, match="ValidationError"):
            task.delay({"x": "no number"}).get(timeout=10)


def test_bound_task_gets_models(app):
    @app.task(pydantic=True, bind=True)
    def own(self, point: Point) -> Point:
        assert isinstance(point, Point)
        return point

    with app.worker():
        assert own.delay(Point(x=2)).get(timeout=10)["x"] == 2


def test_model_that_would_not_come_back_as_it_was_is_refused(app):
    task = app.task(pydantic=True)(scaled)
    with pytest.raises(EncodeError, match="Special"):
        task.delay(Special(x=1))


def test_strict_validation_context_and_form_are_the_tasks_choice(app):
    seen = {}

    class Watched(BaseModel):
        x: int

        @classmethod
        def model_validate(cls, value, **options):
            seen.update(options)
            return super().model_validate(value, **options)

    def job(point: Watched) -> Watched:
        return point

    task = app.task(
        name="m.job",
        pydantic=True,
        pydantic_strict=True,
        pydantic_context={"who": "me"},
        pydantic_dump_kwargs={"exclude": {"x"}},
    )(job)
    task.run.__wrapped__.__annotations__.update(point=Watched, **{"return": Watched})
    assert task({"x": 1}) == {}
    assert seen["strict"] is True
    assert seen["context"] == {
        "who": "me",
        "celery_app": app,
        "celery_task_name": "m.job",
    }
    with pytest.raises(ValidationError):
        task({"x": "1"})


def test_arguments_are_checked_at_the_send(app):
    task = app.task(pydantic=True)(scaled)
    with pytest.raises(TypeError, match="point"):
        task.delay()


def test_handed_over_tasks_have_models(app):
    app.task(pydantic=True, name="m.task")(scaled)
    theirs = app.to_celery()
    theirs.conf.task_always_eager = True
    assert theirs.tasks["m.task"].delay({"x": 2}).get()["x"] == 4
    assert theirs.tasks["m.task"].delay(Point(x=2)).get()["x"] == 4


def test_missing_pydantic_is_told(app, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydantic", None)
    with pytest.raises(SettingError, match="needs the package pydantic"):
        app.task(pydantic=True)(scaled)
