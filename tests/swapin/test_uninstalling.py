"""Uninstalling leaves not one attribute changed, after any use."""

from __future__ import annotations

import sys
import threading

import celery
from celery import chord, group

from celerant.celery import install, uninstall
from harness.capture import drain
from harness.until import until
from swapin.conftest import RESULTS

#: Attributes that Python and Celery make by themselves as time goes by.
_OF_TIME = {"__abstractmethods__", "_abc_impl", "__warningregistry__"}


class Snapshot:
    """The attributes of every module and class of Celery and kombu, by identity."""

    def __init__(self, *more):
        self._owners = {}
        # They are attributes once they were asked for.
        for lazy in celery.__all__:
            getattr(celery, lazy)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in {"celery", "kombu", "vine", "amqp"}:
                self._note(name, module)
                for value in list(vars(module).values()):
                    if isinstance(value, type):
                        name_ = f"{value.__module__}.{value.__qualname__}"
                        self._note(name_, value)
        for owner in more:
            self._note(repr(owner), owner)

    def _note(self, name, owner):
        self._owners[id(owner)] = (name, owner, dict(vars(owner)))

    def __len__(self):
        return len(self._owners)

    def changes(self):
        """Return the attributes that have changed, come or gone."""
        found = []
        for name, owner, before in self._owners.values():
            now = dict(vars(owner))
            found += [
                f"{name}.{key}"
                for key in before.keys() | now.keys()
                if before.get(key, self) is not now.get(key, self)
                and key not in _OF_TIME
                # A submodule that was imported since.
                and f"{name}.{key}" not in sys.modules
            ]
        return sorted(found)


def use(side):
    """Send and look in all the ways that leave traces."""
    members = [side.add.s(i, i) for i in range(3)]
    result = group(members).apply_async()
    assert not result.ready()
    assert not result.completed_count()
    assert len(result.results) == 3
    chord(members, side.echo.s()).apply_async()
    side.add.chunks([(1, 1), (2, 2)], 1).apply_async()
    group(side.add.s(i, i) for i in range(20)).apply_async()
    result.then(print)


def test_uninstalling_leaves_nothing(make_app, volleys):
    side = make_app("redis", RESULTS)
    # Celery makes some things when they are used first.
    use(side)
    app = side.app
    made = (app, app.GroupResult, app.AsyncResult, app.Task, app.amqp, app.backend)
    before = Snapshot(*made, type(side.add), celery.current_app)
    assert len(before) > 500
    assert before.changes() == []
    install()
    assert "celery.canvas.group.apply_async" in before.changes()
    use(side)
    assert len(volleys) > 3
    assert all(volleys)
    uninstall()
    assert before.changes() == []


def test_threads_send_while_the_swap_in_is_installed_and_uninstalled(make_app, volleys):
    side = make_app()
    # kombu makes an in-process queue twice if two threads are its first users.
    group([side.add.s(1, 1)]).apply_async()
    drain(side.url, side.queue)
    stop = threading.Event()
    sent, failed = [], []

    def send():
        while not stop.is_set():
            try:
                result = group([side.add.s(1, 1)] * 5).apply_async()
                sent.append(len(result.results))
            except BaseException as exc:  # noqa: BLE001 - told by the main thread
                failed.append(exc)
                return

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        installed = len(volleys)
        install()
        # Until it has been used, and then until it has not been.
        until(lambda before=installed: len(volleys) > before or failed)
        uninstall()
        count = len(sent)
        until(lambda before=count: len(sent) >= before + 4 or failed)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(sent) == {5}
    assert 5 * len(volleys) < sum(sent) == len(drain(side.url, side.queue))
