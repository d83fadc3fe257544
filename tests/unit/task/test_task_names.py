"""Two tasks of one name: the first one stays, as in Celery."""

from __future__ import annotations

import warnings

import celery
import celery.exceptions
import pytest

from celerant import Celerant, SettingError, Task
from celerant.exceptions import DuplicateTaskNameWarning, NotRegistered

FIRST_STAYS = r"'names\.tell', .*first and .*second: the first one stays"


@pytest.fixture
def app():
    with Celerant("names") as app:
        yield app


def first():
    return "first"


def second():
    return "second"


def test_the_first_task_of_a_name_stays_and_a_warning_says_so(app):
    task = app.task(name="names.tell")(first)
    with pytest.warns(DuplicateTaskNameWarning, match=FIRST_STAYS) as noted:
        other = app.task(name="names.tell", queue="q")(second)
    assert noted[0].filename == __file__
    assert other is task is app.tasks["names.tell"]
    assert (other(), task.queue) == ("first", None)
    with app.worker(concurrency=1):
        assert other.delay().get(timeout=10) == "first"


def test_celery_does_the_same():
    stock = celery.Celery("names", set_as_current=False)
    task = stock.task(name="names.tell", shared=False)(first)
    stock.finalize()
    with pytest.warns(celery.exceptions.DuplicateTaskNameWarning):
        other = stock.task(name="names.tell", shared=False)(second)
    assert task() == other() == "first"


def test_a_name_is_warned_of_once(app):
    app.task(name="names.tell")(first)
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        for _ in range(3):
            app.task(name="names.tell")(second)
    assert len(noted) == 1


@pytest.mark.parametrize(
    "function", [first, staticmethod(first)], ids=["plain", "static"]
)
def test_a_function_that_comes_again_is_no_second_task(app, function):
    task = app.task(name="names.tell")(function)
    assert app.task(name="names.tell", bind=False)(function) is task


def test_a_filter_gets_the_first_task(app):
    task = app.task(name="names.tell")(first)
    with pytest.warns(DuplicateTaskNameWarning):
        found = app.task(name="names.tell", filter=lambda made: [made])(second)
    assert found == [task]


def test_celerys_own_tasks_stay(app):
    own = app.tasks["celery.chunks"]
    with pytest.warns(DuplicateTaskNameWarning):
        assert app.task(name="celery.chunks")(first) is own


class Tell(Task):
    name = "names.tell"

    def run(self):
        return "class"


def test_a_registered_class_replaces_the_task_of_its_name(app):
    app.task(name="names.tell")(first)
    with pytest.warns(DuplicateTaskNameWarning, match=r"Tell: the new one replaces it"):
        made = app.register_task(Tell)
    assert app.tasks["names.tell"] is made
    # The same one again is no second task.
    assert app.register_task(made) is made


def test_tasks_are_registered_and_forgotten_by_the_registry(app):
    app.tasks.register(Tell())
    made = app.tasks["names.tell"]
    assert (made(), made.app) == ("class", app)
    app.tasks.register(Tell)
    assert app.tasks["names.tell"] is not made
    app.tasks.unregister(made)
    with pytest.raises(app.tasks.NotRegistered):
        app.tasks.unregister("names.tell")
    with pytest.raises(NotRegistered):
        app.tasks["names.tell"]
    with pytest.raises(SettingError, match="a class derived from"):
        app.tasks.register(dict)


CELL = """
def tell():
    return {value!r}

task = app.task(name="names.tell")(tell)
"""


def test_a_cell_of_a_notebook_that_is_run_again_defines_its_task_anew(app):
    shell = {"__name__": "__main__", "app": app}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in ("before", "after"):
            exec(CELL.format(value=value), shell)
    assert app.tasks["names.tell"] is shell["task"]
    assert shell["task"]() == "after"
