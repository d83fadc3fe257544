"""A task ends with any value, any exception and any message.

Something is stored that a stock client reads too, the message is settled, and the slot
runs the next task.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import uuid
from pathlib import Path

import celery
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celerant import Celerant
from harness import hostile, services
from harness.inside import connections_made
from harness.until import until

pytestmark = pytest.mark.timeout(600)

WAIT = 20
_SETTINGS = settings(
    deadline=None, suppress_health_check=list(HealthCheck), max_examples=150
)

_names = st.lists(
    st.sampled_from(hostile.METHODS + hostile.ATTRIBUTES), max_size=4, unique=True
)
_raised = st.sampled_from(sorted(hostile.RAISED))
_class_name = st.sampled_from(hostile.CLASS_NAMES)
RECIPES = st.one_of(
    st.tuples(st.just("value"), st.sampled_from(sorted(hostile.VALUES))),
    st.tuples(st.just("raise"), st.sampled_from(sorted(hostile.EXCEPTIONS))),
    st.tuples(st.just("value"), _names, _raised, _class_name),
    st.tuples(
        st.just("raise"),
        _names,
        _raised,
        _class_name,
        st.sampled_from(
            ["Exception", "BaseException", "KeyError", "Retry", "Ignore", "Reject"]
        ),
    ),
)

_CANVAS_FIELDS = (
    "task args kwargs options subtask_type tasks body chain chord task_id link_error "
    "group_id x"
).split()
_HEADERS = (
    "timelimit retries eta expires stamps stamped_headers group group_index root_id "
    "parent_id ignore_result shadow origin replaced_task_nesting argsrepr lang own"
).split()
_garbage = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "x", "hostile.ok", "\ud800", "celery.group", "chain"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_CANVAS_FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_signature = st.fixed_dictionaries(
    {"task": st.just("hostile.ok")},
    optional={
        "args": _garbage,
        "kwargs": _garbage,
        "options": _garbage,
        "subtask_type": st.sampled_from(["group", "chain", "chord", "x"]) | _garbage,
    },
)
_follower = _garbage | _signature | st.lists(_signature, max_size=2)
EMBEDS = st.fixed_dictionaries(
    {},
    optional={
        "callbacks": _follower,
        "errbacks": _follower,
        "chain": _follower,
        "chord": _follower,
    },
)
HEADERS = st.dictionaries(
    st.sampled_from(_HEADERS),
    _garbage | st.lists(_garbage, min_size=2, max_size=2),
    max_size=3,
)
PROPERTIES = st.dictionaries(
    st.sampled_from(["reply_to", "correlation_id", "priority"]), _garbage, max_size=2
)
BODIES = st.one_of(
    st.tuples(st.tuples(RECIPES), st.just({}), EMBEDS),
    st.tuples(_garbage, _garbage, EMBEDS),
    _garbage,
)


class Bench:
    """An app with a worker, and a look at its broker and its records."""

    def __init__(self, app, prefix):
        self.app = app
        self.prefix = prefix
        self.stock = celery.Celery(app.name, broker="memory://")
        self.stock.conf.result_backend = app.conf.result_backend
        self.broker = services.redis_client(7)

    def send(self, body, headers=(), properties=()):
        """Put a message into the queue as it is; return its task's id."""
        task_id = str(uuid.uuid4())
        named = {"task": "hostile.act", "id": task_id, **dict(headers)}
        made = {
            "body": json.dumps(body),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": named,
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": self.app.name},
                "delivery_tag": str(uuid.uuid4()),
                **dict(properties),
            },
        }
        self.broker.lpush(f"{self.prefix}{self.app.name}", json.dumps(made))
        return task_id

    def look(self, task_id, *, is_stored=True):
        """See that a message sent before has ended as all must."""
        ok = self.app.tasks["hostile.ok"]
        assert ok.delay().get(timeout=WAIT) == "ok"
        if is_stored:
            result = self.app.AsyncResult(task_id)
            result.get(timeout=WAIT, propagate=False)
            meta = self.stock.backend.get_task_meta(task_id)
            assert meta["status"] in {"SUCCESS", "FAILURE", "REVOKED"}
            assert celery.result.AsyncResult(task_id, app=self.stock).ready()
        until(lambda: not self.broker.hlen(f"{self.prefix}unacked"), WAIT)
        assert ok.delay().get(timeout=WAIT) == "ok"


@pytest.fixture
def make_bench(make_app):
    with contextlib.ExitStack() as stack:

        def make(**options):
            app = make_app("redis")
            prefix = f"{app.name}:"
            app.conf.broker_transport_options = {"global_keyprefix": prefix}

            @app.task(name="hostile.ok")
            def ok():
                return "ok"

            app.task(name="hostile.act", acks_late=True)(hostile.act)
            worker = stack.enter_context(app.worker(**options))
            bench = Bench(app, prefix)
            stack.callback(bench.broker.close)
            return bench, worker

        yield make


def _is_kept(recipe):
    """Whether a task that does so leaves no record: it ignores, or comes again."""
    steers = "ignore" in recipe or "retry garbage" in recipe
    return not steers and not {"Retry", "Ignore"} & set(recipe[4:])


def test_every_value_and_exception_ends_its_task(make_bench):
    bench, worker = make_bench(concurrency=1)

    @given(RECIPES)
    @_SETTINGS
    def ends(recipe):
        task_id = bench.send([[recipe], {}, {}])
        bench.look(task_id, is_stored=_is_kept(recipe))
        assert worker._slots.busy <= 1

    ends()
    assert worker.is_running
    assert connections_made(worker) == 1


def test_every_message_ends_its_task(make_bench):
    bench, worker = make_bench(concurrency=1)

    @given(BODIES, HEADERS, PROPERTIES)
    @_SETTINGS
    def ends(body, headers, properties):
        if headers.get("ignore_result") or "eta" in headers:
            headers = {**headers, "ignore_result": None, "eta": None}
        task_id = bench.send(body, headers, properties)
        recipe = body[0][0] if _has_recipe(body) else ()
        bench.look(task_id, is_stored=_is_kept(recipe))

    ends()
    assert worker.is_running
    assert connections_made(worker) == 1


def _has_recipe(body):
    return isinstance(body, tuple) and isinstance(body[0], tuple)


def test_every_value_and_exception_ends_its_task_in_a_child_process(
    make_app, own_urls, monkeypatch
):
    name = f"celerant-test-{uuid.uuid4().hex[:8]}"
    for word, value in (
        ("NAME", name),
        ("BROKER", own_urls["redis"]),
        ("BACKEND", own_urls["results"]),
    ):
        monkeypatch.setenv(f"CELERANT_TEST_{word}", value)
    tests = str(Path(__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", tests)
    monkeypatch.delitem(sys.modules, "harness.hostile_tasks", raising=False)
    app = importlib.import_module("harness.hostile_tasks").app
    app.conf.broker_transport_options = {"global_keyprefix": f"{name}:"}
    bench = Bench(app, f"{name}:")
    with app, bench.broker, app.worker(concurrency=1, pool="processes") as worker:

        @given(RECIPES)
        @settings(_SETTINGS, max_examples=60)
        def ends(recipe):
            task_id = bench.send([[recipe], {}, {}])
            bench.look(task_id, is_stored=_is_kept(recipe))

        ends()
        assert worker.is_running
        assert connections_made(worker) == 1
    with services.redis_client(7) as client:
        client.delete(*client.keys(f"*{name}*") or ["-"])
    monkeypatch.delitem(sys.modules, "harness.hostile_tasks")


@given(RECIPES)
@settings(_SETTINGS, max_examples=60)
def test_every_value_and_exception_ends_a_task_in_place(recipe):
    with Celerant(f"hostile-{uuid.uuid4().hex[:8]}") as app:
        app.conf.task_store_eager_result = True
        act = app.task(hostile.act, name="hostile.act")
        is_error = False
        try:
            result = act.apply((recipe,))
        except BaseException as raised:  # noqa: BLE001 - told below
            # An exception that is no Exception is meant for the caller.
            result, is_error = None, issubclass(type(raised), Exception)
        assert not is_error
        # In place nothing is stored of a rejected task.
        is_rejected = "reject garbage" in recipe or "Reject" in recipe[4:]
        if result is not None and _is_kept(recipe) and not is_rejected:
            assert result.state in {"SUCCESS", "FAILURE"}
            assert app.backend.read(result.id) is not None


@given(RECIPES)
@settings(_SETTINGS, max_examples=60)
def test_every_value_and_exception_ends_its_task_in_memory(recipe):
    with Celerant(f"hostile-{uuid.uuid4().hex[:8]}") as app:
        app.conf.task_acks_late = True
        act = app.task(hostile.act, name="hostile.act")
        ok = app.task(lambda: "ok", name="hostile.ok")
        with app.worker(concurrency=1) as worker:
            result = act.delay(recipe)
            if _is_kept(recipe):
                result.get(timeout=WAIT, propagate=False)
            assert ok.delay().get(timeout=WAIT) == "ok"
            assert worker._slots.busy <= 1
