"""A Celery app without references takes the connections of its volleys along."""

from __future__ import annotations

import gc
import threading
import uuid

import celery
from celery import _state
from kombu.transport import memory

import celerant.celery
from celerant.dispatch.carriers import Carriers


def _sent_by_an_app():
    """Send a volley to memory://; return the app and its queue."""
    before = _state._tls.current_app
    name = f"dropped-{uuid.uuid4().hex[:8]}"
    app = celery.Celery(name, broker="memory://", set_as_current=False)
    app.conf.task_default_queue = name

    @app.task(name=name, shared=False, ignore_result=True)
    def task(x):
        return x

    celerant.celery.install()
    celery.group([task.s(n) for n in range(3)]).apply_async()
    celerant.celery.uninstall()
    _state._set_current_app(before)
    return app, name


def test_collector_closes_them_although_its_thread_has_the_lock_of_a_queue(monkeypatch):
    closed = threading.Event()
    close = Carriers.close

    def closing(carriers):
        close(carriers)
        closed.set()

    monkeypatch.setattr(Carriers, "close", closing)
    app, queue = _sent_by_an_app()
    held, is_over = [app], threading.Event()
    del app

    def collect():
        with memory.Channel.queues[queue].mutex:
            held.clear()
            gc.collect()
        is_over.set()

    threading.Thread(target=collect, daemon=True).start()
    assert is_over.wait(20)
    assert closed.wait(20)
