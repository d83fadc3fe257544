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
from harness.canvases import NAMES, build, calls, recipes
from harness.capture import drain
from harness.oracle import comparable

QUEUE = f"celerant-swapin-oracle-{uuid.uuid4().hex[:8]}"
EXAMPLES = int(os.environ.get("CELERANT_ORACLE_EXAMPLES", "2000"))


@pytest.fixture(scope="module")
def side():
    before = _state._tls.current_app
    app = celery.Celery("oracle", broker="memory://", backend="cache+memory://")
    app.conf.task_default_queue = QUEUE
    tasks = {}
    for name in NAMES:

        def anything(*args, **kwargs):
            """Take what comes."""

        tasks[name] = app.task(anything, name=name, shared=False)
    sizes = []
    # Celery's chords on this backend count otherwise; what is told is the point.
    app.backend.set_chord_size = lambda *told: sizes.append(told)
    yield SimpleNamespace(
        app=app,
        tasks=tasks,
        group=celery.group,
        chain=celery.chain,
        chord=celery.chord,
        flat=False,
        sizes=sizes,
    )
    app.close()
    _state._set_current_app(before)


def sent(side, recipe, call, *, as_dict):
    """Return the messages, the result and the sizes of chords; or the error's class."""
    side.sizes.clear()
    try:
        canvas = build(recipe, side)
        if as_dict:
            canvas = celery.signature(json.loads(json.dumps(canvas)), app=side.app)
        result = canvas.apply_async(call.args, dict(call.kwargs), **call.options)
    except Exception as exc:  # noqa: BLE001 - both ways must refuse alike
        return type(exc), comparable(drain("memory://", QUEUE))
    tree = None if result is None else result.as_tuple()
    messages = drain("memory://", QUEUE)
    return len(messages), comparable(messages, tree, list(side.sizes))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(recipe=recipes(), call=calls())
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.timeout(max(900, EXAMPLES // 4))
@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_the_swap_in_sends_what_celery_sends(side, as_dict, recipe, call):
    expected = sent(side, recipe, call, as_dict=as_dict)
    volleys = []
    volley = sending._Sending._volley

    def counted(self, run, **said):
        volleys.append(volley(self, run, **said))
        return volleys[-1]

    with pytest.MonkeyPatch.context() as patch, celerant.celery.install():
        patch.setattr(sending._Sending, "_volley", counted)
        found = sent(side, recipe, call, as_dict=as_dict)
    event(f"volleys: {min(len(volleys), 3)}")
    assert found == expected
