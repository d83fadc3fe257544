"""Results that leave together: whose turn it is to store them, and which may wait."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from celerant import Celerant
from celerant.context.request import Request
from celerant.running import ending, volley
from celerant.running.trace import SUCCESS, Outcome
from celerant.running.volley import Record, Volley
from celerant.worker.message import Delivery
from celerant.worker.runner import Runner, TaskRun
from celerant.worker.settling import Settles
from celerant.worker.worker_state import WorkerState
from harness.until import until


class Store:
    """A result store, and a `Storing`, that keep the ids of each volley."""

    stores_many = True

    def __init__(self):
        self.volleys = []
        #: Called once in the middle of storing.
        self.meanwhile = None

    def encode_result(self, _id, result, *_, **__):
        return result

    def store_many(self, rows, requests):
        self.many(requests=requests, records=rows)

    def many(self, records, requests=None):
        ids = [one.id for one in requests or [record.request for record in records]]
        self.volleys.append(ids)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()


class Forgets(Settles):
    """Acknowledges each message as soon as its task begins."""

    def settle_early(self, delivery):
        delivery.is_forgotten = True
        return False


def record(name):
    return Record(Request(name, "t"), b"", SUCCESS, None)


@pytest.fixture
def due(monkeypatch):
    """Every record has been here for long."""
    monkeypatch.setattr(volley, "_LONG", 0.0)


@pytest.mark.usefixtures("due")
def test_records_that_come_while_others_are_stored_wait_for_the_next_turn():
    store = Store()
    records = Volley(store)
    store.meanwhile = lambda: records.add(record("late"))
    records.add(record("first"))
    records.store_due()
    assert store.volleys == [["first"]]
    records.store_due()
    assert store.volleys == [["first"], ["late"]]


@pytest.mark.usefixtures("due")
def test_one_slot_at_a_time_stores_what_is_late():
    store, begun, going_on = Store(), threading.Event(), threading.Event()
    records = Volley(store)

    def stay():
        begun.set()
        assert going_on.wait(20)

    store.meanwhile = stay
    records.add(record("first"))
    slot = threading.Thread(target=records.store_due)
    slot.start()
    assert begun.wait(20)
    for name in ("second", "third"):
        records.add(record(name))
        records.store_due()
    assert store.volleys == [["first"]]
    going_on.set()
    slot.join(20)
    records.store_due()
    assert store.volleys == [["first"], ["second", "third"]]


@pytest.mark.usefixtures("due")
def test_many_records_do_not_wait_for_another_slot():
    store = Store()
    records = Volley(store)

    def another():
        for number in range(volley._MANY):
            records.add(record(str(number)))
        records.store_due()

    store.meanwhile = another
    records.add(record("first"))
    records.store_due()
    assert list(map(len, store.volleys)) == [1, volley._MANY]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def runner(store, monkeypatch):
    # A receiver of signals, which another test may have left, hears of each task alone.
    monkeypatch.setattr(ending, "is_told", lambda _task: False)
    app = SimpleNamespace(backend=store)
    events = SimpleNamespace(tells_tasks=False)
    runner = Runner(app, hostname="here", worker_state=WorkerState(), events=events)
    runner.settling = Forgets()
    yield runner
    runner.close()


@pytest.fixture
def runs(runner):
    """Four that have begun."""
    task = Celerant("here").task(name="t")(lambda: None)
    runs = [TaskRun(Delivery(None, Request(str(n), "t"), task)) for n in range(4)]
    for run in runs:
        assert runner.admit(run)
        runner.begin(run)
    return runs


def test_a_result_is_stored_although_its_slot_runs_on(store, runner, runs):
    runner.end(runs[0], Outcome(SUCCESS, 1))
    until(lambda: store.volleys == [["0"]])


def test_no_more_results_of_acknowledged_messages_wait_than_tasks_run(
    store, runner, runs, monkeypatch
):
    monkeypatch.setattr(runner, "ask_later", lambda: None)
    seen = []
    for run in runs:
        runner.end(run, Outcome(SUCCESS, 1))
        runner.leave(run)
        seen.append(list(store.volleys))
    # Of four, three and two that run, the first two wait for the third.
    assert seen == [[], [], [["0", "1", "2"]], [["0", "1", "2"], ["3"]]]
