"""The setting ``task_annotations`` changes tasks as it changes Celery's."""

from __future__ import annotations

import celery
import pytest
from celery.app.annotations import MapAnnotation

import celerant
from celerant import Celerant, SettingError

#: The class behind a name in the settings.
SAYS = {"max_retries": 21}


class Annotation:
    def annotate(self, task):
        return SAYS if task.name == "a.one" else None


class ForAll:
    def annotate_any(self):
        return {"max_retries": 22}


def note(_task, *_args):
    return "noted"


def function(x):
    return x


FORMS = [
    {"a.one": {"max_retries": 5}},
    {"*": {"max_retries": 6}},
    {"a.one": {"max_retries": 5, "rate_limit": "1/s"}, "*": {"max_retries": 6}},
    [{"a.two": {"max_retries": 1}}, {"a.one": {"max_retries": 2}}],
    ({"*": {"max_retries": 1}}, {"*": {"max_retries": 2, "rate_limit": "9/m"}}),
    MapAnnotation({"a.one": {"priority": 2}}),
    Annotation(),
    [Annotation(), ForAll()],
    {"a.one": {"on_failure": note, "colour": "red"}},
    {"a.one": {}},
    None,
]


@pytest.mark.parametrize("annotations", FORMS, ids=range(len(FORMS)))
def test_annotated_attributes_are_celerys(annotations):
    theirs = celery.Celery("a", set_as_current=False)
    ours = Celerant("a")
    found = []
    for app, extra in ((theirs, {"shared": False}), (ours, {})):
        app.conf.task_annotations = annotations
        for name in ("a.one", "a.two"):
            task = app.task(name=name, **extra)(function)
            found.append(
                (
                    name,
                    task.max_retries,
                    task.rate_limit,
                    task.priority,
                    getattr(task, "colour", None),
                    task.on_failure(1, 2, 3, 4, 5),
                )
            )
    assert found[:2] == found[2:]


@pytest.fixture
def app():
    with Celerant("annotated") as app:
        yield app


def test_class_is_found_by_its_name(app):
    app.conf.task_annotations = "celery.app.annotations:MapAnnotation"
    assert app.task(name="a.one")(len).max_retries == 3


def test_tasks_made_before_are_annotated_too(app):
    task = app.task(name="a.one")(len)
    app.conf.update(task_annotations={"*": {"max_retries": 5}})
    assert task.max_retries == 5
    app.conf.task_annotations = {"a.one": {"time_limit": 9}}
    assert (task.max_retries, task.time_limit) == (3, 9)
    assert task.given_options() == {"time_limit": 9}
    app.conf.task_annotations = None
    assert (task.max_retries, task.given_options()) == (3, {})


def test_function_is_wrapped_by_an_annotation_with_an_at_sign(app):
    def doubled(function):
        def run(*args):
            return function(*args) * 2

        return run

    app.conf.task_annotations = {"*": {"@run": doubled}}

    @app.task
    def add(x, y):
        return x + y

    @app.task(bind=True)
    def own(self, x):
        return [self.name, x]

    with app.worker():
        assert add.delay(1, 2).get(timeout=10) == 6
        assert own.delay(3).get(timeout=10) == [own.name, 3] * 2
    app.conf.task_annotations = None
    assert add(1, 2) == 3


def test_annotated_retries_take_effect(app):
    app.conf.task_annotations = {
        "*": {
            "autoretry_for": (KeyError,),
            "retry_kwargs": {"max_retries": 1, "countdown": 0},
        }
    }
    runs = []

    @app.task
    def job():
        runs.append(1)
        raise KeyError

    with app.worker(), pytest.raises(KeyError):
        job.delay().get(timeout=10)
    assert len(runs) == 2


@pytest.mark.parametrize("annotations", [5, [5], object()])
def test_malformed_annotations_are_refused(app, annotations):
    with pytest.raises(SettingError, match="task_annotations"):
        app.conf.task_annotations = annotations


def test_impossible_annotated_option_is_refused(app):
    app.task(name="a.one")(len)
    with pytest.raises(SettingError, match=r"task a\.one: time_limit"):
        app.conf.task_annotations = {"a.one": {"time_limit": "ten"}}


def test_handed_over_tasks_are_annotated_once():
    calls = []

    def counted(function):
        def run(*args):
            calls.append(args)
            return function(*args)

        return run

    with celerant.Celerant("annotated-there") as app:
        app.conf.task_annotations = {"*": {"@run": counted, "max_retries": 4}}
        app.task(name="a.one")(abs)
        made = app.to_celery()
        theirs = made.task(name="a.theirs", shared=False)(function)
        assert made.tasks["a.one"].apply((-1,)).get() == 1
        assert len(calls) == 1
        assert made.tasks["a.one"].max_retries == theirs.max_retries == 4
