"""A task goes to the exchange, key and queue that Celery would choose for it."""

from __future__ import annotations

import random
from fnmatch import fnmatch
from types import SimpleNamespace

import celery
import pytest
from celery.exceptions import QueueNotFound
from kombu import Exchange, Queue, binding
from kombu.common import Broadcast

from celerant import Celerant
from celerant.dispatch.blueprints import Basis, Blueprints, Lineage
from celerant.errors import SettingError

SEEDS = range(1_000)
NAMES = ["a", "b", "nick", "cast", "new", "celery", "dflt"]
EXCHANGES = ["x", "topical", "fan", "a", "dflt", "celery"]
KEYS = ["k", "a", "t.key"]
KINDS = ["direct", "topic", "fanout", "headers"]


def drawn_queues(rng):
    """Return queues, made anew at each call: both libraries change them."""
    made = [
        Queue("a"),
        Queue("a", Exchange("a"), routing_key="k"),
        Queue("b", Exchange("topical", type="topic"), routing_key="t.key"),
        Queue("b", Exchange("fan", type="fanout", delivery_mode=1)),
        Queue("b", Exchange("", type="topic"), routing_key="t.key"),
        Queue("real", alias="nick"),
        Queue("real", Exchange("topical", type="topic"), alias="nick"),
        Queue("bound", bindings=[binding(Exchange("x"), routing_key="k")]),
        Queue("heads", Exchange("heads", type="headers"), queue_arguments={"x": 1}),
        Broadcast("cast", queue="cast.own"),
    ]
    chosen = rng.sample(made, rng.randint(0, 4))
    # One of a name: of two the later one counts, as an alias does.
    return list({queue.name: queue for queue in chosen}.values())


def drawn_settings(rng):
    settings = {
        "task_default_queue": rng.choice(["celery", "dflt", "a"]),
        "task_default_exchange_type": rng.choice(["direct", "direct", *KINDS]),
    }
    for name, values in {
        "task_default_exchange": [None, "x", "dflt"],
        "task_default_routing_key": [None, "k", "dflt"],
        "task_default_delivery_mode": [1, 2, "transient"],
        "task_default_queue_type": ["classic", "quorum"],
        "task_create_missing_queues": [True, True, True, False],
        "task_create_missing_queue_type": ["classic", "quorum"],
        "task_create_missing_queue_exchange_type": [None, *KINDS],
        "task_queue_max_priority": [None, 5],
    }.items():
        if rng.random() < 0.4:
            settings[name] = rng.choice(values)
    if rng.random() < 0.6:
        queues = drawn_queues(rng)
        if rng.random() < 0.2:
            queues = {q.name: q for q in queues if not isinstance(q, Broadcast)}
            queues["of_dict"] = {"exchange": "x", "exchange_type": "topic"}
            queues["of_keys"] = {"exchange": "x", "binding_key": "k"}
        settings["task_queues"] = queues
    if rng.random() < 0.4:
        pattern, route = rng.choice(["t.*", "t.x", "u.*"]), drawn_route(rng)
        settings["task_routes"] = rng.choice([dict, as_list, as_function])(
            {pattern: route}
        )
    return settings


def drawn_route(rng):
    route = drawn_options(rng)
    if rng.random() < 0.3 and "queue" in route:
        return route["queue"] if isinstance(route["queue"], str) else route
    return route


def as_list(routes):
    return [{"other": "b"}, tuple(routes.items())]


def as_function(routes):
    ((pattern, route),) = routes.items()

    def found(name, *_args, **_kwargs):
        if not fnmatch(name, pattern):
            return None
        return {"queue": route} if isinstance(route, str) else dict(route)

    return found


def route_of(settings):
    """Return the route that Celery finds, as a dictionary."""
    app = celery.Celery("celerant-test", broker="memory://", set_as_current=False)
    app.conf.update(settings)
    found = app.amqp.router.lookup_route("t.x", (), {}, {}, None) or {}
    return {"queue": found} if isinstance(found, str) else found


def drawn_options(rng):
    options = {}
    for name, values in {
        "queue": [*NAMES, Queue("own", Exchange("own", type="topic"), "own.key")],
        "exchange": [*EXCHANGES, Exchange("x"), Exchange("topical", type="topic")],
        "routing_key": KEYS,
        "exchange_type": KINDS,
        "delivery_mode": [1, 2, "persistent"],
    }.items():
        if rng.random() < 0.3:
            options[name] = rng.choice(values)
    return options


def described(exchange, routing_key, declare, delivery_mode):
    return {
        "exchange": getattr(exchange, "name", exchange),
        "routing_key": routing_key or "",
        "declare": sorted(
            # The exchange of a message is declared with it by both.
            (queue.name, queue.exchange.name, queue.exchange.type, queue.routing_key,
             str(queue.queue_arguments or {}))
            for queue in declare or ()
            if isinstance(queue, Queue)
        ),
        "delivery_mode": {"transient": 1, "persistent": 2}.get(
            delivery_mode, delivery_mode
        ),
    }  # fmt: skip


def by_celery(settings, options):
    app = celery.Celery("celerant-test", broker="memory://", set_as_current=False)
    app.conf.update(settings)
    sent = {}
    producer = SimpleNamespace(publish=lambda body, **kwargs: sent.update(kwargs))  # noqa: ARG005
    routed = app.amqp.router.route(dict(options), "t.x", (), {}, None)
    message = app.amqp.as_task_v2("id", "t.x", (), {})
    app.amqp.send_task_message(producer, "t.x", message, **routed)
    return described(
        sent["exchange"], sent["routing_key"], sent["declare"], sent["delivery_mode"]
    )


def by_celerant(settings, options):
    with Celerant("celerant-test", broker="memory://", **settings) as app:
        basis = Basis(app.conf, *app.routes(), {}, None, lambda _: "")
        blueprints = Blueprints(basis, Lineage(), None, options)
        made = blueprints.draw("t.x", {}, (), {})
        return described(
            made.exchange, made.routing_key, made.declare, made.delivery_mode
        )


def passed_over(sent, options, settings):
    """Return the named exchange; Celery takes the default queue instead."""
    found = {**route_of(settings), **options}
    named = getattr(found.get("exchange"), "name", found.get("exchange"))
    is_told = found.get("queue") or found.get("routing_key") or not named
    return None if is_told or sent["exchange"] else named


@pytest.mark.parametrize("chunk", range(10))
def test_destinations_are_those_of_celery(chunk):
    passed = refused = compared = 0
    for seed in SEEDS[chunk::10]:
        settings = drawn_settings(random.Random(seed))
        options = drawn_options(random.Random(-seed - 1))
        again = drawn_settings(random.Random(seed))
        context = f"seed {seed}: {again} {options}"
        try:
            theirs = by_celery(settings, options)
        except (QueueNotFound, KeyError) as exc:
            theirs = exc
        try:
            ours = by_celerant(again, options)
        except SettingError as exc:
            ours = exc
        if isinstance(theirs, Exception):
            assert isinstance(ours, SettingError), context
            assert ours.name == "queue", context
            refused += 1
        elif named := passed_over(theirs, options, settings):
            # There or nowhere; a default queue that is bound to it alone is there.
            if isinstance(ours, SettingError):
                assert ours.name == "exchange", context
            elif ours != theirs:
                assert ours["exchange"] == named, context
            else:
                queues = Celerant("celerant-test", **again).queues
                assert named == queues[queues.default].exchange.name, context
            passed += 1
        else:
            assert ours == theirs, context
            compared += 1
    assert compared > 50
    assert refused
    assert passed
