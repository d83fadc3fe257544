"""Random canvases leave as the same messages with the swap-in as without it."""

from __future__ import annotations

import json
import os
import uuid
from types import SimpleNamespace

import celery
import pytest
from celery import _state
from hypothesis import HealthCheck, event, given, settings

import celerant.celery
from celerant.celery import sending
from harness import services
from harness.canvases import NAMES, build, calls, recipes
from harness.capture import drain
from harness.oracle import comparable, difference

QUEUE = f"celerant-swapin-oracle-{uuid.uuid4().hex[:8]}"
EXAMPLES = int(os.environ.get("CELERANT_ORACLE_EXAMPLES", "1500"))


def cached():
    """Return a backend that reads the results of a chord's header."""
    return "cache+memory://"


def redis():
    """Return a backend that does not, if there are no groups in it."""
    services.require_redis()
    return services.redis_url(6)


@pytest.fixture(scope="module", params=[cached, redis], ids=["cache", "redis"])
def side(request):
    before = _state._tls.current_app
    app = celery.Celery("oracle", broker="memory://", backend=request.param())
    app.conf.task_default_queue = QUEUE
    tasks = {}
    for name in NAMES:

        def anything(*args, **kwargs):
            """Take any arguments."""

        tasks[name] = app.task(anything, name=name, shared=False)
    sizes = []
    # The arguments are the point, not how chords count on this backend.
    app.backend.set_chord_size = lambda *told: sizes.append(told)
    if request.param is redis:
        app.backend._set_chord_key = lambda key, value: sizes.append(
            (key[-36:].decode(), json.loads(value))
        )
    yield SimpleNamespace(
        app=app,
        tasks=tasks,
        group=celery.group,
        chain=celery.chain,
        chord=celery.chord,
        flat=False,
        sizes=sizes,
        # Stock Celery subscribes to each result on Redis, which takes its time.
        examples=EXAMPLES if request.param is cached else EXAMPLES // 5,
    )
    if request.param is redis:
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()
    app.close()
    _state._set_current_app(before)


def lazy(side):
    """Return a library whose groups and headers are made of generators."""
    made = SimpleNamespace(**vars(side))
    made.group = lambda parts: celery.group(part for part in parts)
    made.chord = lambda header, body: celery.chord((part for part in header), body)
    return made


def sent(side, recipe, call, form):
    """Return the messages, the result and the sizes of chords; or the error's class."""
    side.sizes.clear()
    try:
        canvas = build(recipe, lazy(side) if form == "generator" else side)
        if form == "dict":
            canvas = celery.signature(json.loads(json.dumps(canvas)), app=side.app)
        result = canvas.apply_async(call.args, dict(call.kwargs), **call.options)
    except Exception as exc:  # noqa: BLE001 - both ways must refuse alike
        return type(exc), comparable(drain("memory://", QUEUE))
    tree = None if result is None else result.as_tuple()
    messages = drain("memory://", QUEUE)
    return len(messages), comparable(messages, tree, list(side.sizes))


@pytest.mark.parametrize("form", ["list", "generator", "dict"])
@pytest.mark.timeout(max(900, EXAMPLES // 4))
@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_the_swap_in_sends_celerys_messages(side, form):
    @settings(
        max_examples=side.examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(recipe=recipes(), call=calls())
    def compare(recipe, call):
        check(side, recipe, call, form)

    compare()


def check(side, recipe, call, form):
    expected = sent(side, recipe, call, form)
    volleys = []
    volley = sending._Sending._volley

    def counted(self, run, **said):
        volleys.append(volley(self, run, **said))
        return volleys[-1]

    with pytest.MonkeyPatch.context() as patch, celerant.celery.install():
        patch.setattr(sending._Sending, "_volley", counted)
        found = sent(side, recipe, call, form)
    event(f"volleys: {min(len(volleys), 3)}")
    assert found == expected, difference(found, expected)
