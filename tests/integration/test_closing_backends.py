"""An app is closed while other threads store results: none is lost."""

from __future__ import annotations

import threading

import pytest
from kombu import Connection

from celerant.results.backends import open_backend
from celerant.results.backends.rpc_frames import Reply
from celerant.results.backends.rpc_replies import Replies
from harness import services
from harness.until import until

pytestmark = pytest.mark.timeout(120)

#: Each thread stores so many, while the backend is closed again and again.
COUNT = 300
CONTENT = ("application/json", "utf-8")


def _stored_beside(close, store):
    """Call `store(thread, number)` from threads beside `close`; return the errors."""
    errors, left = [], threading.Semaphore(0)

    def work(name):
        try:
            for number in range(COUNT):
                store(name, number)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is one too many
            errors.append(exc)
        finally:
            left.release()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    closings = 0
    for _ in threads:
        while not left.acquire(timeout=0.005):
            close()
            closings += 1
    for thread in threads:
        thread.join()
    assert closings > 1
    return errors


def test_results_are_stored_in_redis(redis_url):
    backend = open_backend(redis_url["backend"], name="closing")
    ids = {
        (name, number): f"closing-{name}-{number}"
        for name in "ab"
        for number in range(COUNT)
    }
    try:
        errors = _stored_beside(
            backend.close,
            lambda *of: backend.store(ids[of], ids[of].encode(), expires=60),
        )
        assert errors == []
        found = backend.fetch(list(ids.values()))
        assert found == [task_id.encode() for task_id in ids.values()]
    finally:
        backend.forget(list(ids.values()))
        backend.close()


@pytest.mark.usefixtures("rabbitmq_url")
def test_results_are_published_over_rpc(new_queue):
    queue = new_queue()
    with Connection(services.RABBITMQ) as connection:
        channel = connection.default_channel
        channel.queue_declare(queue, durable=False)
        replies = Replies(lambda: Connection(services.RABBITMQ), is_persistent=False)

        def publish(name, number):
            record = Reply(f"{name}{number}".encode(), queue, "id")
            replies.publish_many([record], CONTENT)

        assert _stored_beside(replies.close, publish) == []
        replies.close()
        found = set()

        def has_all():
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.add(message.body)
            return len(found) == 2 * COUNT

        until(has_all)
