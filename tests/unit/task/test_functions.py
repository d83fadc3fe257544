"""Callables that can be tasks, and their parameters, as in Celery."""

from __future__ import annotations

import asyncio
import functools

import celery
import pytest
from pydantic import BaseModel

from celerant import Celerant


def injected(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function("db", *args, **kwargs)

    return call


def narrowed(function):
    @functools.wraps(function)
    def call(x):
        return function(x, 2)

    return call


@injected
def job(db, x):
    return [db, x]


@narrowed
def add(x, y):
    return [x, y]


def plain(x, y=2, *, z=3):
    return [x, y, z]


def positional(x, /, y):
    return [x, y]


def many(*args, **kwargs):
    return [args, kwargs]


def keyword_only(*, x):
    return x


class Object:
    __name__ = "Object"

    def method(self, x):
        return x

    def __call__(self, x):
        return [x]

    @staticmethod
    def static(x):
        return x

    @classmethod
    def of_class(cls, x):
        return x


FUNCTIONS = {
    "injected": job,
    "narrowed": add,
    "plain": plain,
    "positional": positional,
    "many": many,
    "keyword_only": keyword_only,
    "method": Object().method,
    "static": Object.static,
    "of_class": Object.of_class,
    "object": Object(),
    "lambda": lambda x: x,
    "builtin": len,
}
#: Of others it counts `self`, or cannot make a task.
TAKEN_BY_CELERY = [
    "injected",
    "narrowed",
    "plain",
    "positional",
    "many",
    "keyword_only",
    "static",
]
CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((), {"x": 1}),
    ((1,), {"x": 1}),
    ((1,), {"y": 1}),
    ((1,), {"z": 1}),
]


def accepted(check):
    taken = []
    for args, kwargs in CALLS:
        try:
            check(*args, **kwargs)
        except TypeError:
            continue
        taken.append((args, kwargs))
    return taken


@pytest.mark.parametrize("name", TAKEN_BY_CELERY)
def test_arguments_are_accepted_if_celery_accepts_them(name):
    made = celery.Celery("f", set_as_current=False)
    theirs = made.task(name="f.task", shared=False)(FUNCTIONS[name])
    with Celerant("f") as app:
        ours = app.task(name="f.task")(FUNCTIONS[name])
        sent = accepted(lambda *args, **kwargs: ours.apply_async(args, kwargs))
        assert sent == accepted(theirs.__header__)
        run = accepted(lambda *args, **kwargs: ours.apply(args, kwargs))
        assert run == sent


@pytest.mark.parametrize("name", FUNCTIONS)
def test_handed_over_tasks_take_the_same(name):
    with Celerant("f") as app:
        ours = app.task(name="f.task")(FUNCTIONS[name])
        theirs = app.to_celery().tasks["f.task"]
        assert accepted(theirs.__header__) == accepted(ours.parameters.bind)


@pytest.mark.parametrize("bind", [False, True])
def test_decorated_function_runs_in_a_worker_and_in_celery(bind):
    with Celerant("f") as app:
        if bind:
            expected = ["f.task", "db", 7]

            @app.task(name="f.task", bind=True)
            @_injected_after_self
            def task(self, db, x):
                return [self.name, db, x]
        else:
            task = app.task(name="f.task")(job)
            expected = ["db", 7]
        with app.worker():
            assert task.delay(7).get(timeout=10) == expected
        theirs = app.to_celery()
        theirs.conf.task_always_eager = True
        assert theirs.tasks["f.task"].delay(7).get() == expected


def _injected_after_self(function):
    @functools.wraps(function)
    def call(self, *args, **kwargs):
        return function(self, "db", *args, **kwargs)

    return call


def test_partials_and_callables_without_a_name_are_tasks():
    class Called:
        def __call__(self, x):
            return [x]

    with Celerant("f") as app:
        half = app.task(functools.partial(plain, 1, z=5))
        called = app.task(Called())
        bound = app.task(bind=True, name="f.bound")(functools.partial(_named, "a"))
        with app.worker():
            assert half.delay(4).get(timeout=10) == [1, 4, 5]
            assert called.delay(4).get(timeout=10) == [4]
            assert bound.delay(3).get(timeout=10) == ["a", "f.bound", 3]
        with pytest.raises(TypeError):
            half.delay(4, 5)
        assert half.name.endswith(".plain")
        assert called.name.endswith(".Called")


def _named(text, task, x):
    return [text, task.name, x]


def test_functions_attributes_are_not_the_tasks():
    def function():
        return 1

    function.name = function.run = "no"
    with Celerant("f") as app:
        task = app.task(name="f.task")(function)
        assert task.name == "f.task"
        assert task() == 1


@pytest.mark.parametrize("what", [5, "text", None.__class__.__name__])
def test_a_value_that_cannot_be_called_is_no_task(what):
    with Celerant("f") as app, pytest.raises(TypeError, match="is no function"):
        app.task(name="f.task")(what)


def test_run_is_called_without_the_task_as_in_celery():
    with Celerant("f") as app:

        @app.task(bind=True)
        def own(self, x):
            return [self.name, x]

        assert own.run(1) == [own.name, 1]


def logged(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def awaited(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return asyncio.run(function(*args, **kwargs))

    return call


async def later(x):
    return x + 1


@pytest.mark.parametrize(
    "function",
    [awaited(later), logged(awaited(later)), functools.partial(awaited(later))],
    ids=["wrapped", "twice", "partial"],
)
def test_plain_function_that_awaits_a_coroutine_function_is_a_task(function):
    with Celerant("f") as app:
        task = app.task(name="f.task")(function)
        with app.worker():
            assert task.delay(1).get(timeout=10) == 2


@pytest.mark.parametrize(
    "function", [later, functools.partial(later, 1)], ids=["function", "partial"]
)
def test_coroutine_function_is_refused(function):
    with Celerant("f") as app, pytest.raises(TypeError, match=r"asyncio\.run"):
        app.task(name="f.task")(function)


def again(self, x, y=0):
    if x == 1:
        raise self.retry(args=(5,), countdown=0)
    return [x, y]


def again_by_keyword(self, x, y=0):
    if x == 1:
        raise self.retry(kwargs={"x": 5}, countdown=0)
    return [x, y]


class Again:
    def __call__(self, task, x, y=0):
        return again(task, x, y)


RETRIED = {
    "plain": (again, (), {"x": 1}),
    "keyword": (again_by_keyword, (1,), {}),
    "wrapped": (logged(again), (), {"x": 1}),
    "wrapped, keyword": (logged(again_by_keyword), (1,), {}),
    "partial": (functools.partial(again, y=0), (), {"x": 1}),
    "object": (Again(), (), {"x": 1}),
}


@pytest.mark.parametrize("row", RETRIED)
@pytest.mark.parametrize("options", [{}, {"autoretry_for": (OSError,)}], ids=repr)
def test_retry_replaces_arguments_however_the_function_is_wrapped(row, options):
    function, args, kwargs = RETRIED[row]
    with Celerant("f") as app:
        task = app.task(name="f.task", bind=True, **options)(function)
        assert task.apply(args, kwargs).get() == [5, 0]
        with app.worker():
            assert task.apply_async(args, kwargs).get(timeout=10) == [5, 0]


def test_retry_replaces_arguments_of_a_task_with_models():
    class Point(BaseModel):
        x: int

    def moved(self, point: Point, by: int = 0) -> list[int]:
        if point.x == 1:
            raise self.retry(args=({"x": 5},), countdown=0)
        return [point.x, by]

    moved.__annotations__.update(point=Point)
    with Celerant("f") as app:
        task = app.task(name="f.task", bind=True, pydantic=True)(moved)
        assert task.apply((), {"point": {"x": 1}}).get() == [5, 0]
