from __future__ import annotations

import json
import sys
import textwrap
import uuid

import pytest

from celerant import Celerant, Task, chord, group
from celerant.errors import CelerantError
from harness import services

BROKER_DB, RESULT_DB = 7, 8
BROKER = services.redis_url(BROKER_DB)
RESULTS = services.redis_url(RESULT_DB)


@pytest.fixture
def app():
    with Celerant("shop", broker=BROKER, backend=RESULTS) as app:
        yield app


def test_settings_are_the_same_under_the_same_names(app):
    app.conf.update(
        task_default_queue="celerant-h3-shop",
        task_serializer="pickle",
        accept_content=["json", "pickle"],
        worker_prefetch_multiplier=7,
        worker_max_tasks_per_child=9,
        beat_max_loop_interval=3,
        result_expires=60,
    )
    made = app.to_celery()
    assert made.main == "shop"
    assert made.conf.broker_url == BROKER
    assert made.conf.result_backend == RESULTS
    for name, value in app.conf.changed().items():
        assert made.conf[name] == value, name


def test_result_backend_is_the_broker_if_celerant_can_use_it_so():
    with Celerant("shop", broker=BROKER) as app:
        assert app.to_celery().conf.result_backend == BROKER


def test_tasks_keep_their_names_options_and_functions(app):
    options = {
        "ignore_result": True,
        "queue": "celerant-h3-q",
        "serializer": "pickle",
        "time_limit": 30,
        "soft_time_limit": 20,
        "acks_late": True,
        "max_retries": 9,
        "default_retry_delay": 4,
        "autoretry_for": (KeyError,),
        "retry_backoff": True,
        "track_started": True,
        "rate_limit": "10/s",
        "priority": 3,
    }

    @app.task(name="h3.all", **options)
    def everything(x):
        """Say what it does."""
        return x

    task = app.to_celery().tasks["h3.all"]
    for name, value in options.items():
        assert getattr(task, name) == value, name
    assert task(5) == 5
    assert task.__doc__ == "Say what it does."


def test_task_without_a_limit_of_retries_has_none_in_celery(app):
    app.task(name="h3.endless", max_retries=None)(len)
    assert app.to_celery().tasks["h3.endless"].max_retries is None


class Counted(Task):
    """Keeps the notes of its tasks."""

    abstract = True
    acks_late = True

    def __init__(self):
        self.told = []

    @property
    def db(self):
        return "the database"

    def before_start(self, task_id, args, _kwargs):
        self.told.append(("start", args, self.request.id == task_id))

    def on_success(self, retval, task_id, _args, _kwargs):
        self.told.append(("success", retval, self.request.id == task_id))

    def on_failure(self, exc, _task_id, _args, _kwargs, einfo):
        self.told.append(("failure", repr(exc), "KeyError" in str(einfo)))

    def on_retry(self, exc, _task_id, _args, _kwargs, _einfo):
        self.told.append(("retry", repr(exc), self.request.retries))

    def after_return(self, status, _retval, task_id, _args, _kwargs, _einfo):
        self.told.append(("after", status, self.request.id == task_id))


class Classed(Task):
    abstract = True

    def __call__(self, *args, **kwargs):
        return self.run(*args, **kwargs)


def test_class_of_a_task_is_there_in_celery(app):
    @app.task(base=Counted, bind=True, name="h3.classed")
    def classed(self, x):
        self.seen = x
        return self.db, self.request.id is not None

    theirs = app.to_celery().tasks["h3.classed"]
    assert theirs.apply((5,)).get() == ("the database", True)
    assert (theirs.acks_late, theirs.db, theirs.seen) == (True, "the database", 5)
    assert classed.told == [
        ("start", (5,), True),
        ("success", ("the database", True), True),
        ("after", "SUCCESS", True),
    ]
    with pytest.raises(TypeError, match="y"):
        theirs.delay(5, y=1)


def test_hooks_of_failures_and_retries_run_in_celery(app):
    @app.task(base=Counted, bind=True, name="h3.fails", max_retries=1)
    def fails(self):
        raise self.retry(exc=KeyError("x"), countdown=0)

    assert app.to_celery().tasks["h3.fails"].apply().state == "FAILURE"
    assert fails.told == [
        ("start", (), True),
        ("retry", "KeyError('x')", 0),
        ("start", (), True),
        ("failure", "KeyError('x')", True),
        ("after", "FAILURE", True),
    ]


@pytest.mark.parametrize("base", [None, Task, Classed])
def test_task_with_autoretry_retries_in_celery(app, base):
    runs = []

    @app.task(name="h3.tries", base=base, autoretry_for=(KeyError,), max_retries=2)
    def tries():
        runs.append(1)
        raise KeyError

    result = app.to_celery().tasks["h3.tries"].apply()
    assert (result.state, len(runs)) == ("FAILURE", 3)


def test_hook_that_is_an_option_runs_in_celery(app):
    told = []

    def on_success(task, retval, *_):
        told.append((task.name, retval))

    @app.task(name="h3.hooked", on_success=on_success, colour="red")
    def hooked(x):
        return x

    theirs = app.to_celery().tasks["h3.hooked"]
    theirs.apply((3,)).get()
    assert told == [("h3.hooked", 3)]
    assert theirs.colour == "red"


@pytest.mark.parametrize("function", [lambda x: x, str])
def test_functions_that_celery_could_not_take_are_tasks_there(app, function):
    app.task(name="h3.odd")(function)
    assert app.to_celery().tasks["h3.odd"].apply(("5",)).get() == "5"


def test_bound_tasks_get_celerys_own_task(app):
    import celery

    @app.task(bind=True, name="h3.bound")
    def bound(self, x):
        return self, x

    made = app.to_celery()
    task, value = made.tasks["h3.bound"](4)
    assert isinstance(task, celery.Task)
    assert task.app is made
    assert task.name == "h3.bound"
    assert value == 4


def test_unset_options_follow_celerys_settings(app):
    @app.task(name="h3.plain")
    def plain():
        return None

    app.conf.task_acks_late = True
    assert app.to_celery().tasks["h3.plain"].acks_late is True


def test_tasks_registered_later_are_handed_over_and_other_apps_stay_clean(app):
    import celery

    other = celery.Celery("other", set_as_current=False)
    made = app.to_celery()

    @app.task(name="h3.later")
    def later():
        return None

    assert "h3.later" in made.tasks
    assert "h3.later" not in other.tasks


def test_the_current_app_of_celery_stays(app):
    import celery

    before = celery.current_app._get_current_object()
    app.to_celery()
    assert celery.current_app._get_current_object() is before


def test_to_celery_without_celery_names_the_extra(app, monkeypatch):
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(CelerantError, match=r"celerant\[celery\]"):
        app.to_celery()


def test_a_memory_broker_is_warned_of(caplog):
    with Celerant("alone") as app:
        app.to_celery()
    assert "memory://" in caplog.text


def test_celery_still_checks_arguments_at_send(app):
    @app.task(name="h6.pair")
    def pair(x, y=0):
        return x + y

    task = app.to_celery().tasks["h6.pair"]
    with pytest.raises(TypeError, match="missing 1 required"):
        task.apply_async(())


def test_a_task_called_as_a_function_is_not_a_request_of_its_own(app):
    from celerant.context.request import current_request

    @app.task(name="h6.inner")
    def inner():
        return current_request.get()

    made = app.to_celery()

    @app.task(name="h6.outer")
    def outer():
        return made.tasks["h6.inner"]()

    assert made.tasks["h6.inner"]() is None
    request = made.tasks["h6.outer"].apply(task_id="the-outer").get()
    assert (request.id, request.task) == ("the-outer", "h6.outer")
    assert current_request.get() is None


@pytest.mark.parametrize("how", ["task", "chain", "group", "chord"])
def test_replaced_task_has_the_value_of_its_replacement_in_place(app, how):
    add = app.task(name="h7.add")(lambda x, y: x + y)
    total = app.task(name="h7.total")(sum)

    def canvas():
        parts = [add.s(1, 2), add.s(3, 4)]
        return {
            "task": parts[0],
            "chain": parts[0] | add.s(4),
            "group": group(parts),
            "chord": chord(parts, total.s()),
        }[how]

    @app.task(name="h7.classed", bind=True, base=Classed)
    def classed(self):
        return self.replace(canvas())

    @app.task(name="h7.plain")
    def plain():
        raise plain.replace(canvas())

    made = app.to_celery()
    values = {"task": 3, "chain": 7, "group": [3, 7], "chord": 10}
    for name in ("h7.classed", "h7.plain"):
        result = made.tasks[name].apply()
        assert (result.state, result.get()) == ("SUCCESS", values[how])


def test_failure_of_a_replacement_and_a_retry_are_the_tasks_in_place(app):
    fails = app.task(name="h8.fails")(lambda: {}["no"])

    @app.task(name="h8.raises", bind=True, base=Classed)
    def raises(self):
        return self.replace(fails.s())

    @app.task(name="h8.retried", bind=True, base=Classed)
    def retried(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    made = app.to_celery()
    with pytest.raises(KeyError, match="no"):
        made.tasks["h8.raises"].apply().get()
    assert made.tasks["h8.retried"].apply().get() == 2


LINEAGE = """
    from celerant import Celerant, Task, group
    app = Celerant("lineage", broker={broker!r}, backend={results!r},
                   task_default_queue={name!r}, result_expires=600)
    stock = app.to_celery()

    @app.task(name="h6.leaf", bind=True)
    def leaf(self, x):
        return [self.request.root_id, self.request.parent_id, x]

    @app.task(name="h6.branch")
    def branch():
        many = group(leaf.s(i) for i in range(3))()
        return [many.as_tuple(), leaf.delay(3).as_tuple()]

    @app.task(name="h6.sends_and_fails")
    def sends_and_fails():
        leaf.delay(4)
        raise ValueError("after sending")

    @app.task(name="h6.root")
    def root():
        return branch.delay().as_tuple()

    @app.task(name="h6.waits")
    def waits():
        return leaf.delay(1).get(timeout=20)
"""


@pytest.mark.timeout(120)
def test_tasks_sent_by_tasks_of_a_prefork_worker_keep_their_lineage(
    redis_url, celery_worker, tmp_path, monkeypatch
):
    name = f"celerant-h6-{uuid.uuid4().hex[:8]}"
    module = name.replace("-", "_")
    code = LINEAGE.format(broker=BROKER, results=RESULTS, name=name)
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    celery_worker(
        broker=BROKER,
        backend=RESULTS,
        queue=name,
        module=f"{module}:stock",
        pool="prefork",
        environment={"PYTHONPATH": str(tmp_path)},
    )
    client = services.redis_client(RESULT_DB)

    def children(task_id):
        return json.loads(client.get(f"celery-task-meta-{task_id}"))["children"]

    with (
        client,
        Celerant("l", broker=BROKER, backend=RESULTS, task_default_queue=name) as app,
    ):
        top = app.send_task("h6.root")
        sent = top.get(timeout=30)
        assert children(top.id) == [sent]
        ((middle, _), _) = sent
        grown = app.AsyncResult(middle).get(timeout=30)
        assert children(middle) == grown
        ((_, _), members), ((single, _), _) = grown
        leaves = [leaf for ((leaf, _), _) in members] + [single]
        for i, leaf in enumerate(leaves):
            assert app.AsyncResult(leaf).get(timeout=30) == [top.id, middle, i]

        failing = app.send_task("h6.sends_and_fails")
        with pytest.raises(ValueError, match="after sending"):
            failing.get(timeout=30)
        assert len(children(failing.id)) == 1

        with pytest.raises(RuntimeError, match=r"inside task h6\.waits"):
            app.send_task("h6.waits").get(timeout=30)
    with services.redis_client(BROKER_DB) as broker:
        broker.delete(*(broker.keys(f"*{name}*") or ["-"]))


@pytest.mark.timeout(120)
def test_a_stock_worker_runs_a_task_of_the_app(redis_url, celery_worker, tmp_path):
    name = f"celerant-h3-{uuid.uuid4().hex[:8]}"
    module = f"h3_to_celery_{uuid.uuid4().hex[:8]}"
    code = f"""
        from celerant import Celerant
        app = Celerant("shop", broker={BROKER!r}, backend={RESULTS!r},
                       task_default_queue={name!r}, result_expires=600)
        stock = app.to_celery()

        @app.task(name="h3.add")
        def add(x, y):
            return x + y

        @app.task(name="h3.retries", bind=True, max_retries=2, default_retry_delay=0)
        def retries(self):
            if self.request.retries < 2:
                raise self.retry()
            return self.request.retries
    """
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
    sys.path.insert(0, str(tmp_path))
    try:
        celery_worker(
            broker=BROKER,
            backend=RESULTS,
            queue=name,
            module=f"{module}:stock",
            environment={"PYTHONPATH": str(tmp_path)},
        )
        with Celerant(
            "shop", broker=BROKER, backend=RESULTS, task_default_queue=name
        ) as app:
            members = [app.signature("h3.add", (i, 1)) for i in range(20)]
            assert group(members)().get(timeout=30) == list(range(1, 21))
            assert app.send_task("h3.retries").get(timeout=30) == 2
    finally:
        sys.path.remove(str(tmp_path))
        with services.redis_client(BROKER_DB) as client:
            client.delete(*(client.keys(f"*{name}*") or ["-"]))
