"""Stock Celery and Celerant side by side."""

from __future__ import annotations

import uuid
from types import SimpleNamespace

import celery
from kombu import Connection, pools

import celerant
from harness import services
from harness.tasks import TUNED_QUEUE, define_tasks

__all__ = ["Pair"]

BROKERS = {
    "memory": "memory://",
    "redis": services.redis_url(5),
    "rabbitmq": services.RABBITMQ,
}
_REQUIRE = {
    "redis": services.require_redis,
    "rabbitmq": services.require_rabbitmq,
}


class Pair:
    """Stock Celery and Celerant with the same tasks and settings on one broker."""

    def __init__(self, broker, **settings):
        if broker in _REQUIRE:
            _REQUIRE[broker]()
        self.url = BROKERS[broker]
        self.queue = f"celerant-test-{uuid.uuid4().hex[:8]}"
        settings = {
            "task_default_queue": self.queue,
            "result_backend": "disabled",
            **settings,
        }
        stock = celery.Celery("celerant-test", broker=self.url, set_as_current=False)
        # Without confirms, reading may overtake Celery's messages.
        if broker == "rabbitmq":
            settings["broker_transport_options"] = {"confirm_publish": True}
        ours_settings = dict(settings)
        del ours_settings["result_backend"]
        ours = celerant.Celerant("celerant-test", broker=self.url, backend=None)
        stock.conf.update(settings)
        ours.conf.update(ours_settings)
        self.celery = self._side(stock, celery, shared=False)
        self.celerant = self._side(ours, celerant)
        self.queues = {self.queue, TUNED_QUEUE}

    @staticmethod
    def _side(app, library, **common):
        tasks = define_tasks(app, **common)
        return SimpleNamespace(app=app, group=library.group, **vars(tasks))

    def close(self):
        self.celerant.app.close()
        with Connection(self.url) as connection:
            for queue in self.queues:
                channel = connection.default_channel
                channel.queue_delete(queue)
                if self.url.startswith("redis"):
                    # kombu keeps the bindings of a queue that is gone.
                    keys = [f"_kombu.binding{x}.{queue}" for x in ("", "_permanent")]
                    channel.client.delete(*keys)
        self.celery.app.close()
        # Apps of one URL share connections, which remember the queues just deleted.
        pools.reset()
