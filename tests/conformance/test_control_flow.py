"""A task that is retried or replaced leaves the same message and the same record.

One message, of stock Celery, runs on both sides: by Celery's own tracer and by the
embedded worker's runner. The messages and records of both are compared.
"""

from __future__ import annotations

import json
import pickle
import re
import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import celery
import celery.exceptions
import pytest
from celery.app.trace import trace_task
from celery.worker.request import Request as CeleryRequest
from kombu import Connection, Queue

import celerant
from celerant.running.policy import Settlement
from celerant.worker.events import Events
from celerant.worker.message import Reader
from celerant.worker.pool import Threads
from celerant.worker.runner import Runner
from celerant.worker.worker_state import WorkerState
from harness.capture import drain, normalised

HOST = "worker@test"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LATER = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=3)


class BurstError(Exception):
    pass


def define(app, names, **common):  # noqa: C901 - a task each
    """Register tasks that steer their worker, with Celery's names on both sides."""

    @app.task(name="flow.add", **common)
    def add(x, y):
        return x + y

    @app.task(name="flow.again", bind=True, **common)
    def again(self, *args, how, **kwargs):
        options = {
            "plain": {},
            "countdown": {"countdown": 30},
            "eta": {"eta": LATER},
            "exc": {"exc": BurstError("burst", 3), "countdown": 1},
            "args": {"args": (7, 8), "countdown": 1},
            "kwargs": {"kwargs": {"how": "plain", "more": 1}, "countdown": 1},
            "queue": {"queue": "flow-other", "priority": 2, "countdown": 1},
            "headers": {"headers": {"mine": "new"}, "countdown": 1},
            "limits": {"time_limit": 50, "soft_time_limit": 40, "countdown": 1},
            "limit": {"max_retries": 0},
            "limit-exc": {"max_retries": 0, "exc": BurstError("burst", 3)},
        }[how]
        raise self.retry(**options)

    @app.task(name="flow.returns", bind=True, **common)
    def returns(self):
        self.retry(countdown=1, throw=False)
        return "went on"

    @app.task(name="flow.auto", autoretry_for=(BurstError,), **common)
    def auto(x):
        raise BurstError(x)

    @app.task(
        name="flow.backoff",
        autoretry_for=(BurstError,),
        retry_backoff=3,
        retry_backoff_max=20,
        retry_jitter=False,
        max_retries=None,
        **common,
    )
    def backoff():
        raise BurstError

    @app.task(
        name="flow.tuned",
        bind=True,
        time_limit=60,
        soft_time_limit=50,
        compression="gzip",
        ignore_result=True,
        default_retry_delay=7,
        **common,
    )
    def tuned(self):
        raise self.retry()

    @app.task(name="flow.bare", **common)
    def bare():
        raise names.Retry("by hand")

    @app.task(name="flow.ignore", **common)
    def ignore():
        raise names.Ignore("no more")

    @app.task(name="flow.reject", **common)
    def reject(requeue):
        raise names.Reject("not me", requeue)

    @app.task(name="flow.replace", bind=True, **common)
    def replace(self, how):
        canvas = {
            "task": lambda: add.s(1, 2),
            "options": lambda: add.s(1, 2).set(queue="flow-other", countdown=9),
            "linked": lambda: linked(add.s(1, 2), add.s(3)),
            "chain": lambda: names.chain(add.s(1, 2), add.s(3)),
            "group": lambda: names.group([add.s(1, 2), add.s(3, 4)]),
            "chain-group": lambda: names.chain(
                add.s(1, 2), names.group([add.s(3), add.s(4)])
            ),
            "chord": lambda: names.chord([add.s(1, 2), add.s(3, 4)], total.s()),
        }[how]()
        return self.replace(canvas)

    @app.task(name="flow.total", **common)
    def total(values):
        return sum(values)


def linked(signature, callback):
    signature.link(callback)
    return signature


@pytest.fixture
def sides():
    """Stock Celery and Celerant with the tasks above, on one broker in memory."""
    queue = f"flow-{id(object())}"
    stock = celery.Celery(
        "flow", broker="memory://", backend="cache+memory://", set_as_current=False
    )
    stock.conf.update(task_default_queue=queue, result_extended=True)
    ours = celerant.Celerant("flow", broker="memory://", backend="memory://")
    ours.conf.update(task_default_queue=queue, result_extended=True)
    theirs = SimpleNamespace(
        **{n: getattr(celery, n) for n in ("chain", "chord", "group")}
    )
    for name in ("Retry", "Ignore", "Reject"):
        setattr(theirs, name, getattr(celery.exceptions, name))
    define(stock, theirs, shared=False)
    define(ours, celerant)
    yield SimpleNamespace(stock=stock, ours=ours, queue=queue)
    ours.close()
    stock.close()
    for name in (queue, "flow-other"):
        drain("memory://", name)


def take(queue):
    """Take the one message of a queue, as a worker sees it."""
    with Connection("memory://") as connection:
        message = Queue(queue, channel=connection.channel(), no_declare=True).get()
        message.ack()
        return message


def run_stock(sides, message):
    """Run it as a stock worker's main process and its pool do together."""
    stock, verdict, told = sides.stock, [], []

    def send(kind, **fields):
        told.append((kind, shape(fields)))

    request = CeleryRequest(
        message,
        app=stock,
        hostname=HOST,
        eventer=SimpleNamespace(enabled=True, send=send),
        task=stock.tasks[message.headers["task"]],
        on_ack=lambda *_: verdict.append("ack"),
        on_reject=lambda _log, _errors, requeue: verdict.append(
            "requeue" if requeue else "reject"
        ),
    )
    if not request.task.acks_late:
        request.acknowledge()
    args, kwargs, embed = request._payload
    about = dict(request._request_dict, is_eager=False, **(embed or {}))
    traced = trace_task(
        request.task, request.id, args, kwargs, about, hostname=HOST, app=stock
    )
    # As it comes from a child of the pool.
    value = pickle.loads(pickle.dumps(traced.retval))
    request.on_success((int(bool(traced.info)), value, traced.runtime))
    record = stock.backend.get(stock.backend.get_key_for_task(request.id))
    return (verdict, sorted(told)), record


def shape(fields):
    """Return an event's fields by name, without those that differ for two workers."""
    return sorted(
        (name, value)
        for name, value in fields.items()
        if name not in {"uuid", "traceback", "runtime"}
    )


class Told:
    """Takes the place of a broker, and keeps what it is told."""

    def __init__(self, verdict):
        self._verdict = verdict

    def settle(self, _delivery, settlement):
        self._verdict.append(settlement.value)

    def settle_early(self, delivery):
        self.settle(delivery, Settlement.ACK)
        return True

    def tell(self):
        """Nothing waits."""

    def tell_late(self):
        return True

    def wait(self, seconds):
        """Nothing waits."""


def run_ours(sides, message):
    ours = sides.ours
    worker_state = WorkerState()
    events = Events(
        ours.connection_for_write, ours.conf, hostname=HOST, worker_state=worker_state
    )
    runner = Runner(ours, hostname=HOST, worker_state=worker_state, events=events)
    verdict, told = [], []
    events.tells_tasks = True
    events._outbox = SimpleNamespace(
        put=lambda kind, fields: told.append((kind, shape(dict(fields))))
    )
    runner.settling = Told(verdict)
    delivery = Reader(ours.tasks, {"application/json"}, HOST).read(message)
    runner.one_by_one(Threads().run)(delivery)
    # A stock pool tells of the start, which does not run here.
    told = [event for event in told if event[0] != "task-started"]
    return (verdict, sorted(told)), ours.backend.read(delivery.request.id)


def embedded(args, options=(), **changed):
    """Return a signature of `flow.add` as messages embed it."""
    return {
        "task": "flow.add",
        "args": args,
        "kwargs": {},
        "options": dict(options, reply_to="r"),
        "subtask_type": None,
        "immutable": False,
        **changed,
    }


OPTIONS = {
    "bare": {},
    "member": {
        "group_id": "the-group",
        "group_index": 4,
        "root_id": "the-root",
        "parent_id": "the-parent",
    },
    "dressed": {
        "root_id": "the-root",
        "parent_id": "the-parent",
        "shadow": "shown.as",
        "priority": 5,
        "expires": LATER,
        "time_limit": 30,
        "soft_time_limit": 20,
        "headers": {"mine": "kept", "x-death": [{"count": 1}], "other": 1},
        "reply_to": "the-reply",
        "replaced_task_nesting": 2,
        "stamped_headers": ["stamp"],
        "stamp": "value",
        "ignore_result": False,
        "retries": 1,
    },
    "followed": {
        "link": [embedded([1])],
        "link_error": [embedded([2], immutable=True)],
        "chain": [
            embedded([3], {"task_id": "last"}),
            embedded([4], {"task_id": "next"}),
        ],
        "chord": embedded([], {"task_id": "body"}, task="flow.total"),
        "group_id": "the-group",
        "group_index": 1,
    },
}


def both(sides, name, args=(), kwargs=None, **options):
    """Run a message on both sides; return (messages, record) of each."""
    found = []
    for run in (run_stock, run_ours):
        # A result that is stored stays: each run has a task of its own.
        task_id = str(uuid.uuid4())
        sides.stock.tasks[name].apply_async(args, kwargs, task_id=task_id, **options)
        _, record = run(sides, take(sides.queue))
        messages = normalised(
            message
            for queue in (sides.queue, "flow-other")
            for message in drain("memory://", queue)
        )
        found.append((messages, comparable(record, task_id)))
    return found


def unfolded(messages):
    """Return messages with their embeds, ids by the order of appearance."""
    seen = {}

    def named(value):
        if isinstance(value, dict):
            # Fields without a value may be there or not.
            given = {k: v for k, v in sorted(value.items()) if v is not None}
            # Celery's names the worker, ours the waiter for the replaced task.
            given.pop("reply_to", None)
            return {key: named(inner) for key, inner in given.items()}
        if isinstance(value, (list, tuple)):
            return [named(inner) for inner in value]
        if isinstance(value, str) and UUID.fullmatch(value):
            return seen.setdefault(value, f"<uuid {len(seen)}>")
        return value

    return [named({**m, "body": json.loads(m["body"])}) for m in messages]


def comparable(record, task_id):
    """Return a record without the fields that cannot be equal."""
    if record is None:
        return None
    text = record if isinstance(record, str) else record.decode()
    meta = json.loads(text.replace(task_id, "<this>"))
    meta["date_done"] = bool(meta["date_done"])
    meta["traceback"] = meta["traceback"] and meta["traceback"].splitlines()[0]
    return meta


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "how",
    [
        "plain",
        "countdown",
        "eta",
        "exc",
        "args",
        "kwargs",
        "queue",
        "headers",
        "limits",
    ],
)
def test_a_retry_is_the_same_message_and_the_same_record(sides, how, options):
    theirs, ours = both(sides, "flow.again", (1, "ä"), {"how": how}, **OPTIONS[options])
    assert len(theirs[0]) == 1
    assert ours[0] == theirs[0]
    assert theirs[1]["status"] == "RETRY"
    assert ours[1] == theirs[1]


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
@pytest.mark.parametrize("name", ["flow.auto", "flow.backoff"])
def test_autoretry_is_the_same_until_the_limit(sides, name, retries):
    args = ("x",) if name == "flow.auto" else ()
    theirs, ours = both(sides, name, args, retries=retries)
    assert ours == theirs
    is_over = name == "flow.auto" and retries >= 3
    assert theirs[1]["status"] == ("FAILURE" if is_over else "RETRY")
    assert len(theirs[0]) == (not is_over)


def test_options_of_the_task_stay_those_of_its_retry(sides):
    theirs, ours = both(sides, "flow.tuned")
    assert len(theirs[0]) == 1
    assert ours == theirs
    assert theirs[1] is None


@pytest.mark.parametrize("how", ["limit", "limit-exc"])
def test_retry_over_the_limit_raises_the_given_exception(sides, how):
    (messages, theirs), (sent, ours) = both(sides, "flow.again", kwargs={"how": how})
    assert messages == sent == []
    assert theirs["status"] == "FAILURE"
    # The text of the error is ours, its class is Celery's.
    if how == "limit":
        assert theirs["result"].pop("exc_message")
        assert "max_retries is 0" in ours["result"].pop("exc_message")[0]
    assert ours == theirs


def test_a_task_that_goes_on_after_its_retry_succeeds_beside_it(sides):
    theirs, ours = both(sides, "flow.returns")
    assert len(theirs[0]) == 1
    assert theirs[1]["status"] == "SUCCESS"
    assert ours == theirs


def test_a_retry_by_hand_stores_the_state_and_sends_nothing(sides):
    theirs, ours = both(sides, "flow.bare")
    assert ours == theirs
    assert theirs[0] == []
    assert theirs[1]["status"] == "RETRY"


@pytest.mark.parametrize("acks_late", [False, True])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("flow.ignore", ()),
        ("flow.bare", ()),
        ("flow.reject", (False,)),
        ("flow.reject", (True,)),
        ("flow.replace", ("task",)),
    ],
)
def test_broker_store_and_monitors_are_told_the_same(sides, name, args, acks_late):
    sides.stock.tasks[name].acks_late = acks_late
    sides.ours.tasks[name].acks_late = acks_late
    told = []
    for run in (run_stock, run_ours):
        task_id = str(uuid.uuid4())
        sides.stock.send_task(name, args, task_id=task_id)
        (verdict, events), record = run(sides, take(sides.queue))
        told.append((verdict, events, comparable(record, task_id)))
        drain("memory://", sides.queue)
    assert told[1] == told[0]
    assert len(told[0][0]) == 1


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "how", ["task", "options", "linked", "chain", "group", "chain-group", "chord"]
)
def test_a_replacement_is_sent_as_celerys_messages(sides, how, options):
    theirs, ours = both(sides, "flow.replace", (how,), **OPTIONS[options])
    assert len(theirs[0]) >= 1
    assert unfolded(ours[0]) == unfolded(theirs[0])
    assert ours[1] is None
    assert theirs[1] is None


@pytest.mark.parametrize("how", ["task", "chain", "chain-group", "chord", "group"])
def test_the_result_of_a_replacement_goes_to_the_place_of_the_tasks_own(sides, how):
    sides.stock.send_task("flow.replace", (how,), reply_to="who-waits")
    run_ours(sides, take(sides.queue))
    found = []
    for message in drain("memory://", sides.queue):
        _, _, embed = json.loads(message.body)
        end = embed["chord"] or (embed["chain"] or [None])[0]
        while end and end["subtask_type"] == "chord":
            end = end["kwargs"]["body"]
        found.append(end["options"] if end else message.properties)
    assert {options["reply_to"] for options in found} == {"who-waits"}
