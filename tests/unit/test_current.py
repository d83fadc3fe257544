"""Names that code written for Celery uses of the current app, and of any app."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

import celerant
from celerant import Celerant, current_app, current_task, group, maybe_signature
from celerant.context.apps import set_current_app


@pytest.fixture
def app():
    with Celerant(f"celerant-{uuid.uuid4().hex[:8]}") as made:
        yield made


def test_the_current_app_is_the_one_made_last(app):
    assert current_app == app
    assert current_app._get_current_object() is app
    assert isinstance(current_app, Celerant)
    assert current_app.conf is app.conf
    assert repr(current_app) == repr(app)
    with Celerant("other") as other:
        assert current_app == other
        app.set_current()
        assert current_app == app


def test_the_current_app_is_missed_when_it_is_used():
    set_current_app(None)
    assert "no app" in repr(current_app)
    assert not isinstance(current_app, Celerant)
    assert not hasattr(current_app, "__wrapped__")
    assert not current_task
    with pytest.raises(RuntimeError, match="no app"):
        current_app.tasks  # noqa: B018 - the property


def test_the_current_task_is_the_one_that_runs(app):
    @app.task
    def inner():
        return current_task.name

    @app.task(bind=True)
    def outer(self):
        assert current_task == self
        assert current_task.request.id == self.request.id
        assert app.current_task is self
        name = inner()
        assert app.current_worker_task is self
        return bool(current_task), name, current_task.name

    assert not current_task
    assert app.current_task is None
    assert app.current_worker_task is None
    with app.worker(concurrency=1):
        sent = outer.delay()
        assert sent.get(timeout=20) == [True, inner.name, outer.name]


def test_an_apps_time_is_in_its_zone(app):
    assert app.timezone == dt.timezone.utc
    assert app.uses_utc_timezone()
    app.conf.timezone = "Asia/Tokyo"
    assert app.now().utcoffset() == dt.timedelta(hours=9)
    assert not app.uses_utc_timezone()
    assert abs(app.now() - dt.datetime.now(dt.timezone.utc)) < dt.timedelta(minutes=1)


def test_settings_come_from_a_module_that_the_environment_names(
    app, monkeypatch, tmp_path
):
    (tmp_path / "own_settings.py").write_text("task_default_priority = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LookupError, match="OWN_SETTINGS"):
        app.config_from_envvar("OWN_SETTINGS")
    assert not app.config_from_envvar("OWN_SETTINGS", silent=True)
    monkeypatch.setenv("OWN_SETTINGS", "own_settings")
    assert app.config_from_envvar("OWN_SETTINGS")
    assert app.conf.task_default_priority == 7


def test_an_app_lends_connections_and_producers(app):
    with app.connection_or_acquire() as connection:
        assert connection.transport_cls == "memory"
        with app.connection_or_acquire(connection) as same:
            assert same is connection
    with app.producer_or_acquire() as producer:
        producer.publish({"a": 1}, routing_key=app.conf.task_default_queue)
    assert app.control.purge() == 1
    assert app.connection("memory://other").hostname == "other"


def test_an_apps_queues_go_by_celerys_names(app):
    assert app.amqp.default_queue.name == app.conf.task_default_queue
    assert app.amqp.queues["more"].name == "more"
    assert app.amqp.router is app.routes()[1]
    assert app.amqp.default_exchange is app.queues.default_exchange


def test_maps_are_made_of_signatures_as_of_tasks(app):
    @app.task
    def add(x, y=0):
        return x + y

    with app.worker(concurrency=1):
        one, star = celerant.xmap(add.s(), [1, 2]), celerant.xstarmap(add.s(), [(1, 2)])
        assert one == add.map([1, 2])
        assert star == add.starmap([(1, 2)])
        assert one.delay().get(timeout=20) == [1, 2]
        assert star.apply_async().get(timeout=20) == [3]
        parts = celerant.chunks(add.s(), [(i, i) for i in range(3)], 2)
        assert parts.delay().get(timeout=20) == [[0, 2], [4]]
        assert celerant.xmap(add.s(), [1], queue="q").options["queue"] == "q"


def test_signatures_come_of_dicts_and_are_cloned_when_asked(app):
    @app.task
    def add(x, y=0):
        return x + y

    made = group([add.s(1)])
    assert maybe_signature(made) is made
    assert maybe_signature(made, clone=True) is not made
    assert maybe_signature(dict(add.s(1)), app=app).app is app
    assert maybe_signature(None) is None
    assert celerant.subtask is celerant.signature


def test_names_of_celerys_exceptions_are_those_that_are_raised(app):
    from celerant import exceptions

    @app.task
    def fail():
        raise ValueError

    with pytest.raises(exceptions.NotRegistered):
        app.signature("nowhere").apply()
    with pytest.raises(exceptions.ImproperlyConfigured):
        app.conf.no_such_setting = 1
    with app.worker(concurrency=1), pytest.raises(exceptions.TimeoutError):
        app.AsyncResult("never").get(timeout=0)
    app.conf.task_create_missing_queues = False
    with pytest.raises(exceptions.QueueNotFound):
        fail.apply_async(queue="nowhere")
    assert issubclass(exceptions.Retry, exceptions.TaskPredicate)
    assert exceptions.OperationalError is fail.OperationalError
