"""Signals of workers and their messages, with Celery's objects and without Celery."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest
from celery import signals as celerys

from celerant import Celerant, signals
from celerant.common.receivers import SIGNALS, Signal, heard, tell
from harness.capture import drain


class Notes(list):
    """The calls so far, and waiting for more."""

    def __init__(self):
        super().__init__()
        self._more = threading.Condition()

    def add(self, note):
        with self._more:
            self.append(note)
            self._more.notify_all()

    def wait_for(self, name):
        with self._more:
            assert self._more.wait_for(lambda: told(self, name), timeout=10)


@pytest.fixture
def notes():
    """The calls of each signal, and the receivers that keep them."""
    found, kept = Notes(), []

    def receiver(name):
        def receive(sender=None, signal=None, **named):
            del signal
            found.add((name, sender, named))

        return receive

    for name in SIGNALS:
        made = receiver(name)
        kept.append((name, made))
        getattr(signals, name).connect(made)
    yield found
    for name, made in kept:
        getattr(signals, name).disconnect(made)


@pytest.fixture
def app():
    with Celerant("signalled") as app:
        yield app
    drain("memory://", "signalled")


def told(notes, name):
    return [(sender, named) for told, sender, named in notes if told == name]


def test_signals_are_celerys_own():
    for name in SIGNALS:
        assert getattr(signals, name) is getattr(celerys, name)
    assert set(SIGNALS) <= set(signals.__all__)


def test_life_of_a_worker_is_told(app, notes):
    worker = app.worker(concurrency=1)
    with worker:
        assert [name for name, *_ in notes] == [
            "import_modules",
            "celeryd_init",
            "celeryd_after_setup",
            "worker_init",
            "worker_ready",
        ]
        assert told(notes, "celeryd_init")[0][0] == worker.hostname
        assert told(notes, "celeryd_init")[0][1]["conf"] is app.conf
        assert told(notes, "worker_ready")[0][0] is worker
        notes.clear()
    assert [name for name, *_ in notes] == ["worker_shutting_down", "worker_shutdown"]
    assert told(notes, "worker_shutdown")[0][0] is worker


def test_messages_that_come_are_told(app, notes):
    @app.task(name="signalled.task")
    def task(x):
        return x

    with app.worker(concurrency=1):
        result = task.apply_async((5,), shadow="shown")
        result.get(timeout=10)
        unknown = app.send_task("signalled.unknown")
        with pytest.raises(Exception, match=r"signalled\.unknown"):
            unknown.get(timeout=10)
    ((_, named),) = told(notes, "task_received")
    request = named["request"]
    assert (request.id, request.task_id) == (result.id, result.id)
    assert (request.name, request.type) == ("shown", "signalled.task")
    assert (list(request.args), request.task) == ([5], task)
    ((_, named),) = told(notes, "task_unknown")
    assert (named["name"], named["id"]) == ("signalled.unknown", unknown.id)
    assert type(named["exc"]).__name__ == "NotRegistered"
    assert named["message"].headers["id"] == unknown.id


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_tasks_that_do_not_run_are_told(app, notes, how):
    @app.task(name="signalled.task")
    def task():
        return 1

    result = task.apply_async(expires=-1 if how == "expired" else None, countdown=1)
    with app.worker(concurrency=1):
        if how == "revoked":
            result.revoke()
        with pytest.raises(Exception, match=how):
            result.get(timeout=10)
        notes.wait_for("task_revoked")
    if how == "expired":
        # As in Celery: it is void as it comes.
        assert told(notes, "task_received") == []
    ((sender, named),) = told(notes, "task_revoked")
    assert sender is task
    assert named["request"].id == result.id
    assert (named["expired"], named["terminated"]) == (how == "expired", False)
    assert told(notes, "task_prerun") == []


def test_receivers_of_one_task_hear_of_that_alone(app):
    one = app.task(name="signalled.one")(abs)
    two = app.task(name="signalled.two")(abs)
    heard_of = []

    @signals.task_success.connect(sender=one)
    def receive(sender, result, **_named):
        heard_of.append((sender.name, result))

    with app.worker():
        two.delay(-1).get(timeout=10)
        one.delay(-2).get(timeout=10)
    assert heard_of == [("signalled.one", 2)]


def test_receiver_that_raises_harms_no_task(app):
    task = app.task(name="signalled.task")(abs)

    @signals.task_prerun.connect(sender=task)
    def receive(**_named):
        raise ValueError

    with app.worker():
        assert task.delay(-1).get(timeout=10) == 1


WITHOUT_CELERY = """
    import sys
    sys.modules["celery"] = None
    from celerant import Celerant
    from celerant.common.receivers import heard
    assert heard() is None
    from celerant import signals
    from celerant.common.receivers import Signal
    app, told = Celerant("bare"), []

    @app.task
    def works(x):
        return x

    def note(name):
        def receive(sender=None, signal=None, **named):
            assert isinstance(signal, Signal)
            told.append(name)
        return receive

    kept = {name: note(name) for name in signals.__all__}
    for name, receiver in kept.items():
        getattr(signals, name).connect(receiver)
    with app.worker():
        assert works.delay(3).get(timeout=10) == 3
    print(*told)
"""


def test_signals_are_told_without_celery():
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_CELERY)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    names = run.stdout.split()
    for name in ("worker_ready", "task_received", "task_prerun", "worker_shutdown"):
        assert names.count(name) == 1
    assert names.index("task_prerun") < names.index("task_success")
    assert names.index("task_success") < names.index("task_postrun")


@pytest.fixture(params=["celerant", "celery"])
def signal(request):
    from celery.utils.dispatch import Signal as CelerySignal

    return Signal("s") if request.param == "celerant" else CelerySignal(name="s")


def test_signal_calls_connected_receivers_as_celerys_does(signal):
    calls = []

    class Listener:
        def hear(self, **named):
            calls.append(named["value"])

    def one(sender, value, **_named):
        calls.append((sender, value))
        return value

    listener = Listener()
    signal.connect(one)
    signal.connect(one)
    signal.connect(listener.hear)
    assert [answer for _, answer in signal.send("me", value=1)] == [1, None]
    assert calls == [("me", 1), 1]
    del listener
    assert len(signal.send(sender=None, value=2)) == 1
    assert signal.disconnect(one)
    assert not signal.disconnect(one)
    assert signal.send(sender=None, value=3) == []


def test_signal_tells_receivers_of_a_sender_and_keeps_strong_ones(signal):
    calls = []
    signal.connect(
        lambda **named: calls.append(named["sender"]), sender="a", weak=False
    )
    signal.connect(lambda **_named: calls.append("uid"), weak=False, dispatch_uid="u")
    signal.connect(lambda **_named: calls.append("no"), weak=False, dispatch_uid="u")
    signal.send("a")
    signal.send("b")
    assert calls == ["a", "uid", "uid"]
    assert signal.has_listeners("a")


def test_signal_refuses_receivers_without_keywords(signal):
    with pytest.raises(ValueError, match="keyword"):
        signal.connect(lambda: None, weak=False)


def test_errors_of_receivers_are_answers(signal):
    def fails(**_named):
        raise KeyError("x")

    signal.connect(fails)
    ((_, answer),) = signal.send(None)
    assert isinstance(answer, KeyError)


def test_signal_without_receivers_makes_no_calls(monkeypatch):
    monkeypatch.delitem(sys.modules, "celery.signals")
    monkeypatch.delitem(sys.modules, "celerant.signals", raising=False)
    assert heard() is None
    tell("task_prerun", None)


class LikeCelerys(Signal):
    """Lets exceptions through that are no Exception, as Celery's signals do."""

    def send(self, sender, **named):
        for receiver in self._live_receivers(sender):
            receiver(signal=self, sender=sender, **named)
        return []


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
@pytest.mark.parametrize("made", [Signal, LikeCelerys])
def test_receivers_that_raise_cost_the_worker_nothing(app, monkeypatch, made, kind):
    task = app.task(name="signalled.task")(abs)
    for name in ("task_received", "task_prerun", "task_success", "task_postrun"):
        signal = made(name)
        monkeypatch.setattr(signals, name, signal)
        monkeypatch.setattr(celerys, name, signal)

        def leave(**_named):
            raise kind("out")

        signal.connect(leave, weak=False)
    with app.worker(concurrency=1):
        assert [task.delay(-x).get(timeout=10) for x in (1, 2)] == [1, 2]


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, ValueError])
def test_receiver_that_raises_does_not_keep_others_from_hearing(kind, caplog):
    signal, heard_by = Signal("task_success"), []

    def leave(**_named):
        raise kind("out")

    def note(sender, **_named):
        heard_by.append(sender)

    signal.connect(leave)
    signal.connect(note)
    (_, raised), _ = signal.send("task")
    assert isinstance(raised, kind)
    assert heard_by == ["task"]
    assert "receiver" in caplog.text


def test_an_interrupt_of_the_main_thread_is_no_receivers(caplog):
    signal = Signal("task_success")

    def interrupt(**_named):
        raise KeyboardInterrupt

    signal.connect(interrupt)
    with pytest.raises(KeyboardInterrupt):
        signal.send("task")
    assert caplog.text == ""
