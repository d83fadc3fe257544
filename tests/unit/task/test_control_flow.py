"""Retry, Ignore, Reject and replace in the embedded worker, in both pools."""

from __future__ import annotations

import threading

import pytest

from celerant import (
    Celerant,
    ForkError,
    Ignore,
    MaxRetriesExceeded,
    Reject,
    ResultTimeout,
    Retry,
    SettingError,
    group,
)


@pytest.fixture(scope="module")
def tasks(request):
    """The module of tasks, found by spawned processes too."""
    import control_tasks

    yield control_tasks
    control_tasks.app.close()


@pytest.fixture(scope="module", params=["threads", "processes"])
def pool(request, tasks):
    """A worker with that pool, running."""
    with tasks.app.worker(2, request.param):
        yield request.param


@pytest.fixture
def app():
    """An app of its own for one test."""
    with Celerant("control", task_default_queue="control-flow") as app:
        yield app


def test_a_task_is_retried_under_its_id(tasks, pool):
    result = tasks.again.delay(2)
    assert result.get(timeout=20) == [2, result.id, [2]]
    assert result.state == "SUCCESS"


def test_members_of_a_group_keep_their_places(tasks, pool):
    retried = [tasks.again.s(n % 3) for n in range(9)]
    values = group(retried).apply_async().get(timeout=30)
    assert [value[0] for value in values] == [n % 3 for n in range(9)]


def test_autoretry_ends_with_the_tasks_error(tasks, pool):
    result = tasks.auto.delay("ü")
    with pytest.raises(Exception, match="ü") as caught:
        result.get(timeout=20)
    assert type(caught.value).__name__ == "BurstError"


def test_retry_over_the_limit_without_an_exception_is_an_error_of_its_own(tasks, pool):
    with pytest.raises(MaxRetriesExceeded, match="max_retries is 1"):
        tasks.limit.delay().get(timeout=20)


def test_a_retry_that_cannot_be_sent_fails_the_task(tasks, pool, caplog):
    with pytest.raises(Reject, match="set"):
        tasks.retry_unsendable.delay().get(timeout=20)
    assert "takes the place of task" in caplog.text


def test_a_retry_that_the_task_catches_runs_all_the_same(tasks, pool):
    results = [tasks.swallow.delay(1) for _ in range(3)]
    # The record of the first run stays, as a success does.
    assert [result.get(timeout=20) for result in results] == ["swallowed"] * 3


@pytest.mark.parametrize(
    ("how", "value"), [("task", 3), ("group", [3, 7]), ("chain", 6)]
)
def test_a_replacement_gives_its_result(tasks, pool, how, value):
    assert tasks.replace_by.delay(how).get(timeout=20) == value


def test_the_step_after_a_replaced_task_gets_the_replacements_value(tasks, pool):
    canvas = tasks.replace_by.si("task") | tasks.add.s(10)
    assert canvas.apply_async().get(timeout=20) == 13


def test_a_replacement_that_cannot_be_sent_fails_the_task(tasks, pool):
    with pytest.raises(SettingError, match="no_such_option"):
        tasks.replace_by.delay("unknown").get(timeout=20)


def test_an_ignored_task_leaves_no_record(tasks, pool):
    ignored = tasks.ignore.delay()
    # Later messages are run meanwhile, so that it was its turn long ago.
    for _ in range(4):
        tasks.pid.delay().get(timeout=20)
    with pytest.raises(ResultTimeout):
        ignored.get(timeout=0)
    assert ignored.state == "PENDING"


def test_a_rejected_task_fails_with_the_reason(tasks, pool):
    with pytest.raises(Reject) as caught:
        tasks.reject.delay().get(timeout=20)
    assert (caught.value.reason, caught.value.requeue) == ("not for me", False)


def test_states_of_ones_own_reach_memory_only_from_threads(tasks, pool):
    result = tasks.progress.delay({"done": 3})
    if pool == "processes":
        with pytest.raises(ForkError, match="memory"):
            result.get(timeout=20)
        return
    assert result.get(timeout=20) == "done"


def test_a_state_of_ones_own_can_be_read_while_the_task_runs(app):
    seen, go_on = threading.Event(), threading.Event()

    @app.task(bind=True)
    def work(self):
        self.update_state(state="PROGRESS", meta={"at": 3})
        seen.set()
        assert go_on.wait(20)

    with app.worker(1):
        result = work.delay()
        assert seen.wait(20)
        assert (result.state, result.info) == ("PROGRESS", {"at": 3})
        assert not result.ready()
        go_on.set()
        result.get(timeout=20)


def test_retry_is_told_while_it_waits(app):
    @app.task(bind=True)
    def wait(self):
        raise self.retry(exc=ValueError("busy"), countdown=600)

    stored = threading.Event()
    store = app.backend.store_encoded

    def watch(*args, **options):
        store(*args, **options)
        stored.set()

    app.backend.store_encoded = watch
    with app.worker(1):
        result = wait.delay()
        assert stored.wait(20)
        assert result.state == "RETRY"
        assert repr(result.info) == repr(result.result) == "ValueError('busy')"
        assert "Retry in 600s: ValueError('busy')" in result.traceback
        assert not result.ready()


def test_the_request_has_the_fields_of_the_message(app):
    seen = {}

    @app.task(bind=True)
    def look(self, *args, **kwargs):
        request = self.request
        seen.update(
            id=request.id, args=request.args, kwargs=request.kwargs, mine=request.mine,
            group=request.group, index=request.group_index, get=request.get("other", 5),
            limits=request.timelimit, hard=request.time_limit, root=request.root_id,
            direct=request.called_directly, eager=request.is_eager,
            route=request.delivery_info["routing_key"], stamps=request.stamps,
            task=self.name, app=self.app,
        )  # fmt: skip
        inner = look_inside()
        return [inner.called_directly, inner.id, inner.args]

    @app.task(bind=True)
    def look_inside(self, *args):
        return self.request

    with app.worker(1):
        member = look.s(1, b=2).set(headers={"mine": "m"}, time_limit=9)
        (result,) = sent = group([member]).apply_async()
        assert result.get(timeout=20) == [True, None, []]
    assert seen == {
        "id": result.id, "args": [1], "kwargs": {"b": 2}, "mine": "m",
        "group": sent.id, "index": 0, "get": 5,
        "limits": (9, None), "hard": 9, "root": result.id,
        "direct": False, "eager": False,
        "route": "control-flow", "stamps": {},
        "task": look.name, "app": app,
    }  # fmt: skip
    assert look.request.called_directly
    with pytest.raises(AttributeError, match="no field and no header 'mine'"):
        _ = look.request.mine


def test_a_task_that_is_called_is_not_retried(app):
    @app.task(bind=True, autoretry_for=(KeyError,))
    def burst(self, exc=None):
        if isinstance(exc, KeyError):
            raise exc
        raise self.retry(exc=exc)

    with pytest.raises(ValueError, match="mine"):
        burst(ValueError("mine"))
    with pytest.raises(Retry, match="can be retried"):
        burst()
    with pytest.raises(KeyError):
        burst(KeyError("k"))


def test_a_task_called_inside_another_retries_neither(app):
    runs = []

    @app.task(bind=True)
    def outer(self):
        runs.append("outer")
        return inner()

    @app.task(bind=True)
    def inner(self):
        runs.append("inner")
        raise self.retry(exc=ValueError("inner"), countdown=0)

    with app.worker(1), pytest.raises(ValueError, match="inner"):
        outer.delay().get(timeout=20)
    assert runs == ["outer", "inner"]


def test_a_task_that_calls_itself_is_not_retried_by_the_inner_call(app):
    runs = []

    @app.task(bind=True)
    def nest(self, depth):
        runs.append((depth, self.request.called_directly))
        if depth:
            return nest(depth - 1)
        raise self.retry(exc=ValueError("inner"), countdown=0)

    with app.worker(1), pytest.raises(ValueError, match="inner"):
        nest.delay(1).get(timeout=20)
    assert runs == [(1, False), (0, True)]


def test_a_wrong_option_of_a_retry_is_raised_in_the_task(app):
    told = []

    @app.task(bind=True)
    def wrong(self):
        try:
            self.retry(countdwon=3)
        except SettingError as exc:
            told.append(str(exc))

    with app.worker(1):
        wrong.delay().get(timeout=20)
    assert "did you mean 'countdown'" in told[0]


@pytest.mark.parametrize("option", ["autoretry_for", "dont_autoretry_for"])
@pytest.mark.parametrize("value", [(ValueError, "KeyError"), KeyError, "text"])
def test_options_that_could_not_work_are_refused(app, option, value):
    with pytest.raises(SettingError, match=option):
        app.task(**{option: value})(lambda: None)


@pytest.mark.parametrize(
    ("raised", "runs"), [(ValueError, 1), (LookupError, 3), (KeyError, 1), (Ignore, 1)]
)
def test_autoretry_leaves_out_excepted_errors(app, raised, runs):
    ran = threading.Semaphore(0)

    @app.task(
        autoretry_for=(LookupError, Ignore),
        dont_autoretry_for=(KeyError,),
        max_retries=2,
        default_retry_delay=0,
    )
    def burst():
        ran.release()
        raise raised("text")

    @app.task
    def last():
        return None

    with app.worker(1):
        result = burst.delay()
        if raised is not Ignore:
            with pytest.raises(raised):
                result.get(timeout=20)
        last.delay().get(timeout=20)
    for _ in range(runs):
        assert ran.acquire(blocking=False)
    assert not ran.acquire(blocking=False)


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({"retry_backoff": True}, [1, 2, 4, 8]),
        ({"retry_backoff": 3}, [3, 6, 12, 24]),
        ({"retry_backoff": 100, "retry_backoff_max": 250}, [100, 200, 250, 250]),
    ],
)
def test_backoff_doubles_up_to_its_maximum(app, options, waits):
    @app.task(bind=True, retry_jitter=False, max_retries=4, **options,
              autoretry_for=(KeyError,))  # fmt: skip
    def burst(self):
        seen.append(self.request.retries)
        raise KeyError

    seen = []
    asked = []
    retry = burst.retry

    def watch(**given):
        asked.append(given.pop("countdown"))
        return retry(countdown=0, **given)

    burst.retry = watch
    with app.worker(1), pytest.raises(KeyError):
        burst.delay().get(timeout=20)
    assert seen == [0, 1, 2, 3, 4]
    assert asked[:4] == waits


def test_jitter_stays_below_the_backoff(app):
    from celerant.tasks.retry import _backoff

    task = app.task(retry_backoff=10)(lambda: None)
    waits = {_backoff(task, 2) for _ in range(300)}
    assert min(waits) >= 0
    assert max(waits) <= 40
    assert len(waits) > 10


def test_celerys_own_classes_count_too(app):
    exceptions = pytest.importorskip("celery.exceptions")

    @app.task
    def steer(how):
        raise {
            "ignore": exceptions.Ignore(),
            "reject": exceptions.Reject("no", requeue=False),
        }[how]

    with app.worker(1):
        ignored = steer.delay("ignore")
        with pytest.raises(Reject, match="no"):
            steer.delay("reject").get(timeout=20)
        assert ignored.state == "PENDING"


@pytest.mark.parametrize("lazy", [False, True])
def test_a_chord_waits_for_members_that_are_added(app, lazy):
    @app.task
    def double(x):
        return 2 * x

    @app.task(bind=True)
    def extend(self, x):
        more = self.add_to_chord(double.s(10 * x), lazy=lazy)
        if lazy:
            more.apply_async()
        return x

    @app.task
    def total(values):
        return sorted(values)

    with app.worker(2):
        canvas = group(extend.s(1), extend.s(2)) | total.s()
        assert canvas.apply_async().get(timeout=20) == [1, 2, 20, 40]


def test_add_to_chord_wants_a_chord(app):
    @app.task(bind=True)
    def extend(self):
        self.add_to_chord(extend.s())

    with app.worker(1), pytest.raises(ValueError, match="chord"):
        extend.delay().get(timeout=20)
