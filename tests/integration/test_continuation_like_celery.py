"""The embedded worker sends the tasks after a task as a stock worker does."""

from __future__ import annotations

import json
import re
import threading

import celery
import pytest
from kombu import Connection

from harness.canvas_tasks import define_canvas_tasks
from harness.capture import drain, normalised
from harness.celery_worker import CeleryWorker
from harness.stock_client import stock_client

pytestmark = pytest.mark.timeout(120)
WAIT = 30
KINDS = ("embedded", "stock")


@pytest.fixture
def workers(make_app, own_urls):
    """Two stock clients of one code; each one's queue has its own kind of worker."""
    app = make_app("redis")
    app.conf.result_extended = True
    urls = {"broker": own_urls["redis"], "backend": own_urls["results"]}
    define_canvas_tasks(app, urls["backend"])
    served = f"{app.name}-stock"
    peer = CeleryWorker(
        **urls,
        queue=served,
        module="harness.stock_canvas_worker:app",
        settings={"task_default_queue": served, "result_extended": True},
    )
    with (
        stock_client(**urls, queue=app.name) as ours,
        stock_client(**urls, queue=served) as theirs,
        peer,
        app.worker(concurrency=2),
    ):
        shops = {}
        for kind, client in zip(KINDS, (ours, theirs), strict=True):
            tasks = define_canvas_tasks(client, urls["backend"], shared=False)
            queue = client.conf.task_default_queue
            shops[kind] = Shop(client, tasks, queue, urls["broker"])
        yield shops
        for shop in shops.values():
            shop.forget()


class Shop:
    """A stock client, and a queue without workers."""

    def __init__(self, client, tasks, name, url):
        self.client = client
        self.tasks = tasks
        self.name = name
        self.aside = f"{name}-aside"
        self.url = url

    def away(self, signature):
        """Send a signature's message to a queue where it stays."""
        return signature.set(queue=self.aside)

    def messages(self, count):
        """Wait for so many messages in the queue without workers."""
        found = []
        with Connection(self.url) as connection:
            queue = connection.SimpleQueue(self.aside, no_ack=False)
            # Each is looked at, and put back for `drain`, which reads all of it.
            waiting = [queue.get(timeout=WAIT) for _ in range(count)]
            for message in waiting:
                message.requeue()
            queue.close()
        found = drain(self.url, self.aside)
        assert len(found) == count
        return found

    def forget(self):
        """Delete the queue without workers."""
        with Connection(self.url) as connection:
            connection.default_channel.queue_delete(self.aside)


def both(workers, act):
    """Return the value of `act` for each kind of worker, ids named in one order."""
    return [act(workers[kind]) for kind in KINDS]


def record_of(shop, names, result):
    """Wait for a stored record; return it so that equal means alike."""
    backend = shop.client.backend
    key = backend.get_key_for_task(result.id)
    pause = threading.Event()
    for _ in range(WAIT * 100):
        stored = backend.get(key)
        if stored is not None and json.loads(stored)["date_done"]:
            break
        # Not `get`, which raises the errors of parents.
        pause.wait(0.01)
    meta = json.loads(stored)
    for field in {"date_done", "worker", "queue"} & meta.keys():
        meta[field] = type(meta[field])
    if meta["traceback"] is not None:
        # The frames are each worker's own, and so are the modules of their errors.
        kind, _, text = meta["traceback"].rstrip().splitlines()[-1].partition(": ")
        meta["traceback"] = kind.rpartition(".")[2], text
    return named(names, meta)


_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def named(names, value):
    """Return `value` with each id replaced by the order in which it came up."""
    if isinstance(value, dict):
        return {key: named(names, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [named(names, item) for item in value]
    if isinstance(value, str):
        return _ID.sub(
            lambda found: names.setdefault(found[0], f"<id {len(names)}>"), value
        )
    return value


def comparable(shop, names, messages):
    """Return messages so that equal means alike."""
    made = []
    for message in normalised(messages):
        body = json.loads(message.pop("body").decode().replace(shop.name, "<queue>"))
        message["body"] = named(names, without_replies(body))
        info = message.pop("delivery_info")
        message["routing"] = info["routing_key"].replace(shop.name, "<queue>")
        message["properties"].pop("delivery_info", None)
        message["headers"] = named(names, message["headers"])
        made.append(message)
    return made


def without_replies(value):
    """Drop the fields that name the client's own reply queue."""
    if isinstance(value, dict):
        return {k: without_replies(v) for k, v in value.items() if k != "reply_to"}
    if isinstance(value, list):
        return [without_replies(item) for item in value]
    return value


def test_the_next_step_of_a_chain_is_sent_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        chain = add.s(1, 2) | shop.away(add.s(3)) | add.s(4)
        result = chain.apply_async(priority=3)
        named(
            names, [node.id for node in (result, result.parent, result.parent.parent)]
        )
        return comparable(shop, names, shop.messages(1))

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert ours[0]["body"][0] == [3, 3]


def test_the_last_step_of_a_chain_in_a_header_is_sent_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        header = [add.s(1, 2) | shop.away(add.s(3)), add.s(4, 5)]
        body = shop.tasks.gather.s("key")
        result = celery.chord(header, body, app=shop.client).apply_async()
        named(names, [result.id, result.parent.id, *(r.id for r in result.parent)])
        return comparable(shop, names, shop.messages(1))

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert ours[0]["headers"]["group_index"] == 0
    assert ours[0]["body"][2]["chord"]["task"] == "canvas.gather"


@pytest.mark.parametrize("count", [1, 3])
def test_callbacks_are_sent_alike(workers, count):
    def act(shop):
        add = shop.tasks.add
        links = [shop.away(add.s(n)) for n in range(count)]
        result = add.apply_async((1, 2), link=links)
        names = {}
        named(names, [result.id])
        return comparable(shop, names, shop.messages(count))

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert {message["headers"]["group"] is None for message in ours} == {count == 1}


def test_group_callbacks_are_sent_alike(workers):
    def act(shop):
        add = shop.tasks.add
        members = celery.group([shop.away(add.s(n)) for n in range(3)], app=shop.client)
        result = add.apply_async((1, 2), link=[members])
        names = {}
        named(names, [result.id])
        return comparable(shop, names, shop.messages(3))

    ours, theirs = both(workers, act)
    assert ours == theirs


def test_errbacks_are_sent_alike(workers):
    def act(shop):
        links = [shop.away(shop.tasks.on_id.s(key=f"k{n}")) for n in range(2)]
        result = shop.tasks.fail.apply_async(("no",), link_error=links)
        names = {}
        named(names, [result.id])
        return comparable(shop, names, shop.messages(2))

    ours, theirs = both(workers, act)
    assert ours == theirs


def test_the_body_of_a_chord_is_sent_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        body = shop.away(shop.tasks.gather.s("key")) | add.s(1)
        result = celery.chord([add.s(1, 2)], body, app=shop.client).apply_async()
        named(names, [result.id])
        return comparable(shop, names, shop.messages(1))

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert ours[0]["body"][0] == [[3], "key"]


def test_records_of_a_chain_and_its_callbacks_are_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        first = add.s(1, 2)
        link = add.s(100)
        callback = link.freeze()
        first.link(link)
        last = (first | add.s(3) | add.s(4)).apply_async()
        nodes = [last.parent.parent, last.parent, last, callback]
        return [record_of(shop, names, node) for node in nodes]

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert [record["result"] for record in ours] == [3, 6, 10, 103]
    # The callback, then the next step.
    assert len(ours[0]["children"]) == 2


def test_records_of_a_chain_that_fails_are_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        last = (add.s(1, 2) | shop.tasks.fail.s() | add.s(4) | add.s(5)).apply_async()
        nodes = [last.parent.parent.parent, last.parent.parent, last.parent, last]
        return [record_of(shop, names, node) for node in nodes]

    ours, theirs = both(workers, act)
    assert ours == theirs
    assert [record["status"] for record in ours] == ["SUCCESS", *["FAILURE"] * 3]


def test_records_of_a_chord_are_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        header = [add.s(n, n) for n in range(3)]
        body = shop.tasks.gather.s(f"{shop.name}-key")
        result = celery.chord(header, body, app=shop.client).apply_async()
        records = [record_of(shop, names, node) for node in (*result.parent, result)]
        # Which part was the last is chance.
        assert records[-1].pop("parent_id")
        records[-1]["args"] = len(records[-1]["args"])
        return records

    ours, theirs = both(workers, act)
    assert ours == theirs


def test_records_of_a_chord_that_fails_are_alike(workers):
    def act(shop):
        add, names = shop.tasks.add, {}
        header = [shop.tasks.fail.s("no"), add.s(1, 1)]
        body = shop.tasks.gather.s("key") | add.s(1)
        last = celery.chord(header, body, app=shop.client).apply_async()
        nodes = [*last.parent, last]
        return [record_of(shop, names, node) for node in nodes]

    ours, theirs = both(workers, act)
    # Celery stores a body that was not sent without its name and arguments.
    assert {field: ours[-1][field] for field in theirs[-1]} == theirs[-1]
    assert ours[:-1] == theirs[:-1]
    assert ours[-1]["result"]["exc_type"] == "ChordError"
