"""Items in kombu's in-process queues are equal to those that kombu itself puts."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from kombu import Connection, Exchange, Queue

from celerant import Celerant, PublishError, group
from celerant._core import Fate
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.wires import memory
from celerant.dispatch.wires.generic import GenericWire
from celerant.dispatch.wires.memory import MemoryWire
from harness.tasks import define_tasks


def _left(queue):
    with Connection("memory://") as connection:
        store = connection.default_channel._queue_for(queue)
        found = list(store.queue)
        assert store.unfinished_tasks >= len(found)
        store.queue.clear()
        return found


def _plain(raw, ids):
    """Return an item of a queue with what is drawn for each message named."""
    headers, properties = dict(raw["headers"]), dict(raw["properties"])
    place = ids.index(headers["id"])
    own = {headers["id"]: place, headers["group"]: "group"}
    tag = properties.pop("delivery_tag")
    assert len(tag) == 36
    for told in (headers, properties):
        for name, value in told.items():
            if isinstance(value, str):
                told[name] = own.get(value, value)
    return {**raw, "headers": headers, "properties": properties}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 3},
        {"expires": 60, "countdown": 5},
        {"compression": "zlib"},
        {"serializer": "pickle"},
        {"headers": {"x": 1}, "shadow": "other"},
        {"delivery_mode": 1, "reply_to": "r", "correlation_id": "c"},
    ],
)
def test_messages_in_memory_are_those_that_kombu_puts_there(shop, options):
    queue = shop.app.conf.task_default_queue
    members = [shop.add.s(i, i) for i in range(3)]
    with Connection("memory://") as connection, closing(connection.Producer()) as own:
        kombus = group(members).apply_async(producer=own, **options)
        expected = _left(queue)
    ours = group(members).apply_async(**options)
    found = _left(queue)
    told = [raw["properties"] for raw in found]
    assert len({properties["delivery_tag"] for properties in told}) == 3
    # Messages that go back to the queue are marked there.
    assert len({id(properties["delivery_info"]) for properties in told}) == 3

    def read(raws, result):
        ids = [member.id for member in result]
        return [_undated(_plain(raw, ids)) for raw in raws]

    assert read(found, ours) == read(expected, kombus)


def _undated(raw):
    for name in ("eta", "expires"):
        if raw["headers"][name] is not None:
            raw["headers"][name] = raw["headers"][name][:10]
    return raw


@pytest.fixture
def routed():
    """Make an app whose default queues are bound to an exchange of a type."""

    def make(kind, count):
        exchange = Exchange(f"celerant-wire-{kind}", kind)
        names = [f"celerant-wire-{kind}-{i}" for i in range(count)]
        app = Celerant("celerant-test-wire")
        app.conf.task_queues = [Queue(n, exchange, routing_key="k") for n in names]
        app.conf.task_default_exchange = exchange.name
        app.conf.task_default_exchange_type = kind
        app.conf.task_default_routing_key = "k"
        app.conf.task_default_queue = names[0]
        made.append(app)
        with Connection("memory://") as connection:
            for queue in app.conf.task_queues:
                queue(connection.default_channel).declare()
        return define_tasks(app), names

    made = []
    yield make
    for app in made:
        app.close()


@pytest.fixture
def by_kombu(monkeypatch):
    """How many messages went through `Producer.publish`."""
    published = []
    publish = GenericWire._publish

    def counted(self, *args):
        published.append(args)
        return publish(self, *args)

    monkeypatch.setattr(GenericWire, "_publish", counted)
    return published


@pytest.mark.parametrize(("kind", "passes"), [("direct", 0), ("topic", 3)])
def test_every_bound_queue_gets_a_message(routed, by_kombu, kind, passes):
    shop, names = routed(kind, 2)
    call = {"exchange": f"celerant-wire-{kind}", "routing_key": "k"}
    members = group([shop.add.s(i, i) for i in range(3)])
    result = members.apply_async(**call)
    ids = [member.id for member in result]
    for name in names:
        assert [raw["headers"]["id"] for raw in _left(name)] == ids
    assert len(by_kombu) == passes


def test_another_encoding_of_bodies_is_kombus_to_make(by_kombu):
    with Celerant("celerant-test-encoding") as app:
        app.conf.broker_transport_options = {"body_encoding": None}
        shop = define_tasks(app)
        group([shop.add.s(i, i) for i in range(3)]).apply_async()
        left = _left(app.conf.task_default_queue)
    assert len(by_kombu) == 3
    assert [raw["properties"]["body_encoding"] for raw in left] == [None] * 3


def test_a_volley_wakes_a_slot_for_each_message(app, monkeypatch):
    # Else the worker's own look now and then would do.
    monkeypatch.setattr("celerant.worker.memory_source._LOOK_INTERVAL", 3600.0)
    both = threading.Barrier(2, timeout=10)
    task = app.task(lambda: both.wait() >= 0, name="celerant_test.both")
    with app.worker(concurrency=2):
        # Each waits for the other: one slot alone would never end.
        assert group([task.s(), task.s()])().get(timeout=10) == [True, True]


@pytest.mark.parametrize("is_put", [False, True])
def test_an_interrupt_leaves_a_volley_unknown(shop, monkeypatch, is_put):
    ledgers = []
    put = MemoryWire._put

    def interrupted(self, queue, messages):
        ledgers.append(self.dispatch.ledger)
        if is_put:
            put(self, queue, messages)
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryWire, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        group([shop.add.s(i, i) for i in range(3)]).apply_async()
    assert ledgers[0].intervals(Fate.UNKNOWN) == [(0, 3)]


def test_a_connection_lost_while_declaring_is_made_again(routed):
    shop, names = routed("direct", 2)
    first, second = shop.add.app.conf.task_queues
    declared, lost = [], [ConnectionResetError("gone")]

    def loses(*_):
        if lost:
            raise lost.pop()

    first.on_declared = lambda *_: declared.append(1)
    second.on_declared = loses
    call = {"exchange": first.exchange.name, "routing_key": "k"}
    members = [shop.add.s(i, i).set(queue=q) for i, q in enumerate((first, second))]
    result = group(members).apply_async(**call)
    assert result.report.complete
    # Declarations go with their connection.
    assert len(declared) == 2
    assert [len(_left(name)) for name in names] == [2, 2]


def test_a_queue_deleted_meanwhile_is_looked_for_again(shop, monkeypatch):
    name = shop.app.conf.task_default_queue
    shop.add.delay(0, 0)
    with Connection("memory://") as connection:
        channel = connection.default_channel
        gone = channel._queue_for(name)
        channel._delete(name)
        found = channel._queue_for(name)
        looked = [found, gone, found]
        monkeypatch.setattr(memory, "_store", lambda _name: looked.pop(0))
        group([shop.add.s(i, i) for i in range(3)]).apply_async()
        assert looked == []
    assert (len(gone.queue), len(found.queue)) == (1, 3)


@pytest.mark.parametrize("exchange_type", ["direct", "topic"])
def test_members_arrive_while_another_thread_closes_the_app(exchange_type):
    name = f"celerant-closed-{exchange_type}"
    exchange = Exchange(f"{name}-x", exchange_type)
    queue = Queue(name, exchange, routing_key="k")
    app = Celerant(name, backend="disabled://", task_queues=[queue])
    tasks = define_tasks(app)
    is_over = threading.Event()

    def close():
        while not is_over.is_set():
            app.close()

    thread = threading.Thread(target=close)
    thread.start()
    confirmed = 0
    try:
        for i in range(150):
            members = group([tasks.add.s(i, i) for _ in range(8)])
            try:
                report = members.apply_async(queue=queue, routing_key="k").report
            except PublishError as exc:
                report = exc.report
            confirmed += report.counts()["confirmed"]
            # Unconfirmed members are reported as such.
            assert sum(report.counts().values()) == 8
    finally:
        is_over.set()
        thread.join()
        app.close()
    assert confirmed <= len(_left(name)) <= 150 * 8


def test_an_app_that_is_closed_while_its_connection_opens_is_a_publish_error(
    shop, monkeypatch
):
    def closing(_connection, _patience):
        # What kombu raises then.
        shop.app.close()
        message = "'NoneType' object has no attribute 'transport_options'"
        raise AttributeError(message)

    monkeypatch.setattr(Carrier, "over", closing)
    with pytest.raises(PublishError, match="the app was closed meanwhile") as caught:
        group([shop.add.s(i, i) for i in range(3)]).apply_async(retry=False)
    assert caught.value.report.counts()["unsent"] == 3
