"""Monitors see the embedded worker and its tasks as they see a stock worker."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, defaultdict

import pytest
from kombu import Exchange, Queue

from celerant import Celerant, group
from celerant.worker.events import Events
from celerant.worker.outbox import _MOST_WAITING
from celerant.worker.worker_state import WorkerState
from harness.inside import unsent_events
from harness.tasks import define_tasks

pytestmark = pytest.mark.timeout(90)
HOST = "here@test"


@pytest.fixture(params=["redis", "rabbitmq"])
def app(request, make_app):
    made = make_app(request.param)
    made.twins = define_tasks(made)
    return made


class Monitor:
    """A stock receiver and its state, in a thread, for the time of a block."""

    def __init__(self, app):
        self.celery = app.to_celery()
        # Celery's four seconds are few if all cores are busy.
        self.celery.conf.broker_connection_timeout = 30
        self.state = self.celery.events.State()
        self.events = []
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._receiver.should_stop = True
        self._thread.join(20)
        self.celery.close()

    def _run(self):
        with self.celery.connection_for_read() as connection:
            receiver = self.celery.events.Receiver(connection, {"*": self._see})
            ready = receiver.on_consume_ready
            self._receiver = receiver

            def on_consume_ready(*args, **options):
                ready(*args, **options)
                self._ready.set()

            receiver.on_consume_ready = on_consume_ready
            receiver.capture(limit=None, timeout=None)

    def _see(self, event):
        with self._changed:
            self.events.append(dict(event))
            self.state.event(event)
            self._changed.notify_all()

    def wait(self, is_there):
        """Wait until `is_there()` is true of the events seen."""
        with self._changed:
            assert self._changed.wait_for(is_there, 30), self.kinds()

    def kinds(self):
        return Counter(event["type"] for event in self.events)

    def of(self, task_id):
        """Return the types of a task's events and their fields, in order."""
        return [
            (event["type"], frozenset(event))
            for event in self.events
            if event.get("uuid") == task_id
        ]


def test_state_sees_a_group_and_the_worker(app):
    @app.task(name="h9.divide")
    def divide(x, y):
        return x / y

    app.conf.worker_send_task_events = True
    with Monitor(app) as monitor:
        with app.worker(concurrency=2, hostname=HOST):
            result = group(divide.s(n, n % 2) for n in range(50)).apply_async()
            result.get(timeout=30, propagate=False)
            ended = ("task-succeeded", "task-failed")
            monitor.wait(lambda: sum(monitor.kinds()[kind] for kind in ended) == 50)
            monitor.wait(lambda: monitor.kinds()["worker-heartbeat"] >= 1)
            assert monitor.state.workers[HOST].alive
        monitor.wait(lambda: monitor.kinds()["worker-offline"] == 1)
    assert monitor.events[0]["type"] == "worker-online"
    assert monitor.kinds()["worker-online"] == 1
    assert not monitor.state.workers[HOST].alive
    for number, member in enumerate(result):
        seen = monitor.state.tasks[member.id]
        assert (seen.name, seen.worker.hostname) == ("h9.divide", HOST)
        assert (seen.args, seen.kwargs) == (f"({number}, {number % 2})", "{}")
        assert seen.root_id == member.id
        assert seen.received <= seen.started
        if number % 2:
            assert (seen.state, seen.result) == ("SUCCESS", repr(float(number)))
            assert 0 <= seen.runtime < 30
        else:
            assert seen.state == "FAILURE"
            assert seen.exception == "ZeroDivisionError('division by zero')"
            assert "Traceback (most recent call last)" in seen.traceback


def test_the_events_are_those_of_a_stock_worker(app, celery_worker):
    settings = {
        "control_exchange": app.name,
        "event_exchange": f"{app.name}.ev",
        "worker_send_task_events": True,
        "task_acks_on_failure_or_timeout": False,
    }
    app.conf.update(settings)
    tasks = app.twins
    seen = defaultdict(list)

    def run(worker_is_there, monitor):
        fields = {}
        results = {
            "success": tasks.add.apply_async((1, 2)),
            "text": tasks.describe.apply_async((5,)),
            "failure": tasks.fail.apply_async(("no",)),
            "ignored": tasks.ignored.apply_async(),
            "expired": tasks.add.apply_async((1, 2), expires=-10),
            "eta": tasks.add.apply_async((3, 4), countdown=0.1),
        }
        for name, result in results.items():
            monitor.wait(
                lambda task_id=result.id: any(
                    kind in {"task-succeeded", "task-failed", "task-revoked"}
                    for kind, _ in monitor.of(task_id)
                )
            )
            fields[name] = monitor.of(result.id)
            about = monitor.state.tasks[result.id]
            seen[worker_is_there].append(
                (name, about.args, about.kwargs, about.result, about.exception)
            )
        return fields

    with Monitor(app) as monitor:
        with app.worker(concurrency=2, hostname=HOST):
            ours = run("ours", monitor)
        broker = app.conf.broker_url
        stock = celery_worker(
            broker=broker,
            backend=app.conf.result_backend,
            queue=app.name,
            pool="threads",
            settings=settings,
        )
        theirs = run("theirs", monitor)
        stock.stop()
    assert [kind for kind, _ in ours["success"]] == [
        "task-received",
        "task-started",
        "task-succeeded",
    ]
    assert ours == theirs
    assert seen["ours"] == seen["theirs"]


def test_remote_control_turns_events_on_and_off(app):
    tasks = app.twins
    with Monitor(app) as monitor, app.worker(hostname=HOST):
        control = monitor.celery.control
        silent = tasks.add.delay(1, 2)
        assert silent.get(timeout=20) == 3
        assert monitor.events == []

        def tell(command):
            (answer,) = getattr(control, command)([HOST], reply=True, timeout=20)
            return answer[HOST]

        assert tell("enable_events") == {"ok": "task events enabled"}
        assert tell("enable_events") == {"ok": "task events already enabled"}
        told = tasks.add.delay(3, 4)
        monitor.wait(lambda: monitor.kinds()["task-succeeded"] == 1)
        assert tell("disable_events") == {"ok": "task events disabled"}
        assert tell("disable_events") == {"ok": "task events already disabled"}
        later = tasks.add.delay(5, 6)
        assert later.get(timeout=20) == 11
        # Both went through the one outbox, in order.
        beats = monitor.kinds()["worker-heartbeat"]
        control.broadcast("heartbeat", destination=[HOST])
        monitor.wait(lambda: monitor.kinds()["worker-heartbeat"] > beats)
    assert {e["uuid"] for e in monitor.events if "uuid" in e} == {told.id}


def test_revoked_rejected_and_unknown_tasks_have_their_events(app):
    app.conf.worker_send_task_events = True

    @app.task(name="h9.late", acks_late=True, acks_on_failure_or_timeout=False)
    def late():
        raise ValueError

    @app.task(name="h9.silent", send_events=False)
    def silent():
        return 1

    with Monitor(app) as monitor, app.worker(concurrency=1, hostname=HOST):
        assert silent.delay().get(timeout=20) == 1
        held = app.twins.add.apply_async((1, 2), countdown=3600)
        monitor.wait(lambda: monitor.of(held.id))
        rejected = late.delay()
        unknown = monitor.celery.send_task("h9.unknown", queue=app.name)
        monitor.wait(lambda: monitor.kinds()["task-failed"] == 2)
        app.control.revoke("h9-revoked")
        assert app.control.ping([HOST], timeout=20)
        app.twins.add.apply_async((1, 2), task_id="h9-revoked")
        monitor.wait(lambda: monitor.kinds()["task-revoked"] == 1)
    assert [kind for kind, _ in monitor.of(rejected.id)] == [
        "task-received",
        "task-started",
        "task-rejected",
        "task-failed",
    ]
    assert [kind for kind, _ in monitor.of("h9-revoked")] == ["task-revoked"]
    assert [kind for kind, _ in monitor.of(unknown.id)] == ["task-failed"]
    about = monitor.state.tasks[unknown.id]
    assert about.exception == "NotRegistered('h9.unknown')"
    assert monitor.kinds()["task-succeeded"] == 0


def test_a_broker_that_hangs_holds_up_no_task(caplog):
    """Events that cannot be sent push out the oldest, and the log says so once."""
    asked, gate = threading.Event(), threading.Event()

    def connect():
        asked.set()
        gate.wait(60)
        raise ConnectionRefusedError

    with Celerant(f"celerant-h9-{uuid.uuid4().hex[:8]}") as app:

        @app.task
        def echo(x):
            return x

        request = type("Request", (), {"id": "h9"})()
        with app.worker(concurrency=1):
            events = Events(
                connect, app.conf, hostname=HOST, worker_state=WorkerState()
            )
            assert events.enable()
            assert asked.wait(20)
            began = time.monotonic()
            for _ in range(_MOST_WAITING + 100):
                events.started(request)
            assert time.monotonic() - began < 10
            assert unsent_events(events) == _MOST_WAITING
            assert echo.delay(1).get(timeout=20) == 1
        said = [r for r in caplog.records if "oldest are dropped" in r.message]
        assert len(said) == 1
        gate.set()
        events.close()
        assert not events.tells_tasks


def test_events_outlive_a_broker_that_was_away(caplog, monkeypatch):
    monkeypatch.setattr("celerant.worker.outbox._RETRY_PAUSE", 0.01)
    name = f"celerant-h9-{uuid.uuid4().hex[:8]}"
    request = type("Request", (), {"id": "h9"})()
    failures = [ConnectionRefusedError("first"), ConnectionResetError("second")]
    seen, is_there = [], threading.Event()

    with Celerant(name, event_exchange=name) as app, app.connection_for_read() as link:

        def connect():
            if failures:
                raise failures.pop()
            is_there.set()
            return app.connection_for_write()

        exchange = Exchange(name, "topic")
        queue = Queue(name, exchange, routing_key="#")(link.default_channel)
        queue.declare()
        events = Events(connect, app.conf, hostname=HOST, worker_state=WorkerState())
        for _ in range(250):
            events.started(request)
        events.enable()
        assert is_there.wait(20)
        events.close()
        while message := queue.get(no_ack=True):
            info = message.delivery_info["routing_key"]
            body = message.decode()
            assert isinstance(body, list) == (info == "task.multi")
            seen += body if isinstance(body, list) else [body]
    assert Counter(event["type"] for event in seen) == {
        "worker-online": 1,
        "task-started": 250,
        "worker-offline": 1,
    }
    clocks = [event["clock"] for event in seen]
    assert clocks == sorted(clocks)
    assert caplog.text.count("events cannot be published") == 1
