from __future__ import annotations

import inspect
import pickle
import uuid
import weakref
from unittest import mock

import pytest
from celery import signals as celerys

from celerant import Celerant, SettingError, Task, group, shared_task
from celerant.common.receivers import Signal
from celerant.context import apps
from celerant.context.apps import set_current_app
from celerant.exceptions import DuplicateTaskNameWarning


@pytest.fixture(autouse=True)
def _no_other_shared_tasks(monkeypatch):
    """Let none of these tasks reach the apps of later tests."""
    monkeypatch.setattr(apps, "_shared", {})
    # Nor those that are not collected yet: they have tasks of the same names.
    monkeypatch.setattr(apps, "_apps", weakref.WeakSet())


@pytest.fixture
def none_yet():
    """Let no app be the current one, as when a module is imported first."""
    set_current_app(None)


@pytest.fixture
def add(none_yet):
    @shared_task
    def add(x, y):
        """Add two."""
        return x + y

    return add


def test_a_shared_task_belongs_to_the_app_made_last(add):
    first = Celerant("first")
    assert add.app is first
    second = Celerant("second")
    assert add.app is second


def test_a_shared_task_is_in_apps_made_before_and_after():
    before = Celerant("before")

    @shared_task(name="shared.tell")
    def tell():
        return "told"

    after = Celerant("after")
    for app in (before, after):
        assert app.tasks["shared.tell"].app is app
        with app.worker(concurrency=1):
            assert app.tasks["shared.tell"].delay().get(timeout=10) == "told"


def test_a_shared_task_without_an_app_names_the_missing_app(add):
    with pytest.raises(RuntimeError, match="no app"):
        add.delay(1, 2)


def test_a_shared_task_is_called_sent_and_grouped_as_a_task(add, app):
    assert add(1, 2) == 3
    with app.worker(concurrency=2):
        assert add.delay(1, 2).get(timeout=10) == 3
        assert group(add.s(i, i) for i in range(3))().get(timeout=10) == [0, 2, 4]
        assert group.starmap(add, [(1, 2), (3, 4)])().get(timeout=10) == [3, 7]


def test_a_shared_task_passes_for_a_task(add):
    # A task travels by its app's name, which is to be of one app alone.
    app = Celerant(f"alone-{uuid.uuid4().hex}")
    assert isinstance(add, Task)
    assert add.name == f"{__name__}.add"
    assert add.__name__ == "add"
    assert add.__doc__ == "Add two."
    assert list(inspect.signature(add).parameters) == ["x", "y"]
    assert pickle.loads(pickle.dumps(add)) is app.tasks[add.name]


def test_options_and_binding_are_the_tasks():
    @shared_task(name="shared.named", bind=True, queue="q", max_retries=9)
    def named(self, x):
        return self.name, x

    app = Celerant("shop")
    task = app.tasks["shared.named"]
    assert (task.queue, task.max_retries) == ("q", 9)
    assert named(1) == ("shared.named", 1)


def test_a_task_of_a_script_is_named_after_the_app():
    def run():
        pass

    run.__module__ = "__main__"
    task = shared_task(run)
    assert Celerant("script") is task.app
    assert task.name == "script.run"


def test_the_first_one_of_a_name_stays():
    app = Celerant("shop")

    @shared_task(name="shared.tell")
    def first():
        return 1

    with pytest.warns(
        DuplicateTaskNameWarning, match=r"first.*second.*first one stays"
    ):

        @shared_task(name="shared.tell")
        def second():
            return 2

    assert app.tasks["shared.tell"]() == first() == second() == 1
    assert Celerant("later").tasks["shared.tell"]() == 1


def test_a_wrong_option_is_refused_if_there_is_an_app(app):
    with pytest.raises(SettingError, match="'queue'"):
        shared_task(name="shared.wrong", quue="q")(print)


def test_sharing_twice_is_refused(add):
    with pytest.raises(TypeError, match=r"add> is a shared task already"):
        shared_task(add)


def test_an_attribute_that_is_set_is_the_tasks(add, app):
    add.queue = "elsewhere"
    assert app.tasks[add.name].queue == "elsewhere"
    assert repr(add) == f"<@shared_task: {__name__}.add>"


def test_attributes_of_the_function_do_not_hide_the_shared_tasks(none_yet):
    def tell(x):
        return x

    tell.name = tell.queue = "the function's"
    # As decorators leave them there.
    tell.retry = tell.delay = tell.s = lambda *_: "the function's"
    shared = shared_task(tell)
    with Celerant("attributes") as app:
        task = app.tasks[f"{__name__}.tell"]
        assert (shared.name, shared.queue) == (task.name, None)
        assert shared.retry == task.retry
        assert shared.s(1) == task.s(1)
        with app.worker(concurrency=1):
            assert shared.delay(1).get(timeout=10) == 1
    assert (shared.__name__, shared.__wrapped__) == ("tell", tell)


def test_a_shared_task_equals_the_current_apps_task(add):
    hash(add)
    assert add == add  # noqa: PLR0124 - without an app it equals itself
    first = Celerant("first")
    own = first.tasks[add.name]
    assert add == own
    assert own == add
    assert hash(add) == hash(own)
    assert {own: 1}[add] == {add: 1}[own] == 1
    assert add != "add"
    assert add == mock.ANY
    second = Celerant("second")
    assert add == second.tasks[add.name] != own


@pytest.fixture(params=["celerant", "celery"])
def finished(request, monkeypatch):
    """The signal of success, of our class or of Celery's."""
    if request.param == "celerant":
        monkeypatch.setattr(celerys, "task_success", Signal("task_success"))
    yield celerys.task_success
    celerys.task_success.receivers.clear()


def test_receivers_connected_to_a_shared_task_hear_of_it(add, finished):
    early, late, own, other = [], [], [], []

    def note(calls):
        def receive(sender, result, **_named):
            calls.append((sender.app.name, result))

        return receive

    # As a module does it that is imported before there is an app.
    finished.connect(note(early), sender=add, weak=False)
    app = Celerant("signalling")
    finished.connect(note(late), sender=add, weak=False)
    finished.connect(note(own), sender=app.tasks[add.name], weak=False)
    finished.connect(note(other), sender=app.task(len), weak=False)
    with app.worker(concurrency=1):
        assert add.delay(1, 2).get(timeout=10) == 3
    assert early == late == own == [("signalling", 3)]
    assert other == []


def test_receiver_connected_to_a_shared_task_and_its_task_is_called_once(add, finished):
    calls = []

    def receive(**named):
        calls.append(named["result"])

    app = Celerant("signalling")
    finished.connect(receive, sender=app.tasks[add.name])
    finished.connect(receive, sender=add)
    with app.worker(concurrency=1):
        assert add.delay(1, 2).get(timeout=10) == 3
    assert calls == [3]
    assert finished.disconnect(receive, sender=add)
    finished.disconnect(receive, sender=app.tasks[add.name])
    with app.worker(concurrency=1):
        assert add.delay(3, 4).get(timeout=10) == 7
    assert calls == [3]
