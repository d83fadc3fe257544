"""Classes of the user's own: ``@app.task(base=)`` and `register_task`."""

from __future__ import annotations

from typing import ClassVar

import celery
import pytest

from celerant import (
    Celerant,
    CelerantError,
    SettingError,
    Task,
    exceptions,
    group,
    shared_task,
)


@pytest.fixture
def app():
    with Celerant("bases") as app:
        yield app


class Database(Task):
    abstract = True
    max_retries = 9
    acks_late = None
    queue = None
    opened = 0

    def __init__(self):
        self.made_for = self.name
        self._db = None

    @property
    def db(self):
        if self._db is None:
            self._db = f"db of {self.name}"
            type(self).opened += 1
        return self._db

    def helper(self, x):
        return x * 2

    def __call__(self, *args, **kwargs):
        return ["called", super().__call__(*args, **kwargs)]


def test_task_has_the_attributes_of_its_class(app):
    @app.task(base=Database, bind=True, name="bases.job")
    def job(self, x):
        return self.db, self.helper(x), self.request.id is not None, self.max_retries

    assert isinstance(job, Database)
    assert job.made_for == "bases.job"
    with app.worker():
        for _ in range(2):
            assert job.delay(4).get(timeout=10) == [
                "called",
                ["db of bases.job", 8, True, 9],
            ]
    assert type(job).opened == 1
    assert Database.opened == 0
    assert job.apply((4,)).get() == ["called", ("db of bases.job", 8, True, 9)]
    assert job(4)[0] == "called"


def test_an_option_that_is_none_in_a_class_is_left_to_the_settings(app):
    job = app.task(base=Database, name="bases.none")(len)
    app.conf.task_acks_late = True
    assert job.acks_late is True
    assert app.task(base=Database, name="b", acks_late=False)(len).acks_late is False


def test_options_of_a_class_go_into_messages(app):
    class Urgent(Task):
        priority = 7
        queue = "bases-urgent"
        ignore_result = True

    job = app.task(base=Urgent, name="bases.urgent")(len)
    assert job.given_options() == {"priority": 7, "queue": "bases-urgent"}
    assert job.ignore_result is True
    assert app.task(base=Urgent, name="b", priority=1)(len).given_options() == {
        "priority": 1,
        "queue": "bases-urgent",
    }


def test_tasks_of_one_class_do_not_share_their_values(app):
    one = app.task(base=Database, name="one")(len)
    two = app.task(base=Database, name="two")(len)
    one.colour = "red"
    assert not hasattr(two, "colour")


def test_shared_tasks_have_a_base():
    @shared_task(base=Database, name="bases.shared")
    def job():
        return 1

    with Celerant("bases-shared") as app:
        assert isinstance(app.tasks["bases.shared"], Database)


@pytest.mark.parametrize("base", [celery.Task, object, "Database", Database()])
def test_base_that_is_no_class_of_tasks_is_refused(app, base):
    with pytest.raises(SettingError, match="must be a class derived"):
        app.task(base=base, name="t")(len)


@pytest.mark.parametrize("as_class", [True, False])
def test_class_with_a_run_method_is_registered(app, as_class):
    class Adder(app.Task):
        name = "bases.adder"
        typing = True

        def run(self, x, y=1):
            return self.name, x + y

    made = app.register_task(Adder if as_class else Adder())
    assert app.tasks["bases.adder"] is made
    with app.worker():
        assert made.delay(4).get(timeout=10) == ["bases.adder", 5]
        assert group(made.s(i) for i in range(2))().get(timeout=10)[1][1] == 2
    with pytest.raises(TypeError, match="y"):
        made.delay(1, 2, y=3)


def test_class_without_a_name_is_called_by_its_own(app):
    class Nameless(Task):
        def run(self):
            return 1

    assert app.register_task(Nameless()).name == f"{__name__}.Nameless"


def test_registering_anything_but_a_task_is_refused(app):
    with pytest.raises(SettingError, match=r"derived from celerant\.Task"):
        app.register_task(len)


def test_misspelt_retry_options_of_a_class_are_refused(app):
    class Wrong(Task):
        autoretry_for = ValueError

    with pytest.raises(SettingError, match="autoretry_for"):
        app.task(base=Wrong, name="t")(len)


def test_retries_of_a_class_are_its_tasks(app):
    runs = []

    class Tries(Task):
        autoretry_for = (KeyError,)
        retry_kwargs: ClassVar = {"max_retries": 2, "countdown": 0}

    @app.task(base=Tries)
    def job():
        runs.append(1)
        raise KeyError

    with app.worker(), pytest.raises(KeyError):
        job.delay().get(timeout=10)
    assert len(runs) == 3


class Context(Task):
    """As Flask's documentation has it."""

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)


@pytest.mark.parametrize("how", ["base", "app", "registered", "annotated"])
def test_task_is_retried_if_its_class_calls_run(app, how):
    runs = []
    retries = {
        "autoretry_for": (ValueError,),
        "retry_kwargs": {"max_retries": 2, "countdown": 0},
    }

    def job(x):
        runs.append(x)
        if len(runs) < 3:
            raise ValueError
        return len(runs)

    if how == "base":
        task = app.task(base=Context, **retries)(job)
    elif how == "app":
        app.Task = Context
        task = app.task(**retries)(job)
    elif how == "annotated":
        task = app.task(base=Context, name="bases.job")(job)
        app.conf.task_annotations = {"bases.job": retries}
    else:
        space = {"run": staticmethod(job), **retries}
        task = app.register_task(type("Job", (Context,), space))
    with app.worker(concurrency=1):
        assert task.delay("x").get(timeout=10) == 3
    assert runs == ["x"] * 3
    # The function itself, as in Celery.
    assert task._orig_run("y") == 4
    assert task.run("z") == 5


def test_class_that_is_registered_again_is_retried_once(app):
    class Job(Task):
        autoretry_for = (ValueError,)

        def run(self):
            raise ValueError

    first = app.register_task(Job)
    assert app.register_task(first) is first
    assert vars(first)["_orig_run"].__func__ is Job.run


class Wrapped(Task):
    queue = "special"

    def __call__(self, *args, **kwargs):
        return ["wrapped", super().__call__(*args, **kwargs)]


@pytest.mark.parametrize("given", [Wrapped, "celerant:Task"])
def test_app_makes_tasks_of_the_class_that_it_is_given(given):
    with Celerant("given", task_cls=given) as app:

        @app.task
        def double(x):
            return 2 * x

        is_wrapped = given is Wrapped
        assert app.Task is (Wrapped if is_wrapped else Task)
        assert isinstance(double, app.Task)
        assert double.queue == ("special" if is_wrapped else None)
        expected = ["wrapped", 4] if is_wrapped else 4
        with app.worker(concurrency=1, queues=["given", "special"]):
            assert double.delay(2).get(timeout=10) == expected


def test_class_set_on_the_app_is_that_of_tasks_made_before_and_after(app):
    @app.task(bind=True, max_retries=7, name="bases.before")
    def before(self, x):
        """Return x."""
        assert self is before
        return x

    @app.task(base=Task)
    def with_base(x):
        return x

    own = app.register_task(type("Own", (Task,), {"run": lambda _self, x: x}))
    before.priority = 5
    was = before

    class Context(app.Task):
        queue = "special"
        time_limit = None

        def __init__(self):
            self.made = [self.name]

        def __call__(self, *args, **kwargs):
            return ["context", self.run(*args, **kwargs)]

    app.Task = Context

    @app.task
    def after(x):
        return x

    assert was is app.tasks["bases.before"]
    assert isinstance(before, Context)
    assert (before(1), after(1)) == (["context", 1], ["context", 1])
    assert (with_base(1), own(1)) == (1, 1)
    assert before.made == ["bases.before"]
    assert (before.__doc__, before.__name__) == ("Return x.", "before")
    assert (before.queue, before.priority, before.max_retries) == ("special", 5, 7)
    app.conf.task_time_limit = 9
    assert before.time_limit == 9
    with app.worker(concurrency=1, queues=["bases", "special"]):
        for task in (before, after):
            assert task.delay(1).get(timeout=10) == ["context", 1]

    app.Task = Task
    assert (before(1), before.queue) == (1, None)


def test_shared_tasks_get_the_class_set_on_the_app(app):
    @shared_task(name="bases.late")
    def shared():
        return "plain"

    class Late(Task):
        def __call__(self):
            return ["late", self.run()]

    app.Task = Late
    assert shared() == ["late", "plain"]
    assert Celerant("other").tasks["bases.late"]() == "plain"


def test_retries_and_annotations_of_a_class_set_on_the_app_are_the_tasks(app):
    app.conf.task_annotations = {"bases.job": {"max_retries": 1}}
    runs = []

    @app.task(name="bases.job")
    def job():
        runs.append(1)
        raise KeyError

    class Tries(Task):
        autoretry_for = (KeyError,)
        retry_kwargs: ClassVar = {"countdown": 0}

    app.Task = Tries
    assert job.max_retries == 1
    with app.worker(), pytest.raises(KeyError):
        job.delay().get(timeout=10)
    assert len(runs) == 2


def test_app_refuses_classes_other_than_tasks(app):
    with pytest.raises(SettingError, match="a class derived from"):
        Celerant("refusing", task_cls=dict)
    with pytest.raises(SettingError, match="a class derived from"):
        app.Task = celery.Task


def test_looking_up_a_task_that_is_not_there_raises_celerys_error(app):
    assert app.tasks.get("nowhere") is None
    with pytest.raises(exceptions.NotRegistered, match="'nowhere'") as caught:
        app.tasks["nowhere"]
    assert type(caught.value) is exceptions.NotRegistered
    assert isinstance(caught.value, KeyError)


def test_result_of_a_task_that_no_worker_knows_raises_celerys_error(app):
    with app.worker(concurrency=1):
        result = app.send_task("nowhere")
        with pytest.raises(exceptions.NotRegistered, match="nowhere") as caught:
            result.get(timeout=10)
    # Celery's own class would do only if it had been imported.
    assert type(caught.value) is exceptions.NotRegistered


def test_a_task_that_is_not_registered_is_sent_by_the_app_made_last(app):
    class Named(Task):
        name = "somewhere.named"

        def run(self):
            return None

    app.set_current()

    assert Named().s().app is app
    assert repr(Named()) == "<unregistered task>"


def test_a_task_without_a_name_is_not_sent(app):
    class Nameless(Task):
        def run(self):
            return None

    app.set_current()

    with pytest.raises(CelerantError, match="Nameless has no name: register it"):
        Nameless().delay()
