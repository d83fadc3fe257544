"""Random canvases, sent by stock Celery and by Celerant, give the same messages.

Groups inside groups are written out flat: their numbers and their order differ on
purpose (docs/compatibility.md), which `test_nested_groups_are_flat_ones` is about.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

import celerant
from harness.canvases import Call, build, calls, outline, recipes
from harness.normal_form import hides, without_twins
from harness.oracle import both_sides, difference, sent, stamps_apart

#: 2,000 in CI; `make test-slow` asks for more.
EXAMPLES = int(os.environ.get("CELERANT_ORACLE_EXAMPLES", "2000"))


#: Recipes, and whether canvases are built anew from JSON: in which Celery's maps are
#: plain tasks.
FORMS = st.one_of(
    st.tuples(recipes(mapped=True), st.just(False)),  # noqa: FBT003 - not a call's
    st.tuples(recipes(), st.just(True)),  # noqa: FBT003 - the same
)


@pytest.fixture(scope="module")
def sides():
    with both_sides() as both:
        yield both


def messages(side, recipe, call, *, as_dict):
    """Build a canvas and send it; return its messages."""
    canvas = build(recipe, side)
    if as_dict:
        canvas = side.signature(json.loads(json.dumps(canvas)), app=side.app)
    found = sent(canvas, call)
    return without_twins(found) if as_dict else found


@hides("a canvas that cannot be sent")
def compare(sides, recipe, call, *, as_dict=False):
    """Send a canvas with both, and compare."""
    try:
        expected = messages(sides.celery, recipe, call, as_dict=as_dict)
    except Exception as exc:  # noqa: BLE001 - ours must refuse it too
        event(f"refused: {type(exc).__name__}")
        # Each bare: a CanvasError, not some slip of ours.
        with pytest.raises((celerant.CelerantError, TypeError)):
            messages(sides.celerant, recipe, call, as_dict=as_dict)
        return
    event(f"messages: {min(len(expected), 5)}")
    found = messages(sides.celerant, recipe, call, as_dict=as_dict)
    assert found == expected, difference(found, expected)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(form=FORMS, call=calls())
@pytest.mark.timeout(max(900, EXAMPLES // 4))
@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_messages_are_celerys(sides, form, call):
    recipe, as_dict = form
    compare(sides, recipe, call, as_dict=as_dict)


@settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(recipe=recipes(stamped=True), call=calls())
@pytest.mark.timeout(max(600, EXAMPLES // 5))
@pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")
def test_messages_of_stamped_canvases_are_celerys(sides, recipe, call):
    with stamps_apart():
        compare(sides, recipe, call)


@settings(max_examples=EXAMPLES // 10, deadline=None)
@given(recipe=recipes(), call=calls())
@pytest.mark.timeout(max(300, EXAMPLES // 10))
def test_nested_groups_are_flat_ones(sides, recipe, call):
    # Chords in a header get its errbacks, but not those in groups in it, as in Celery.
    assume(not recipe.shares_errbacks)
    try:
        flat, nested = build(recipe, sides.celerant), build(recipe, sides.nested)
    except celerant.CanvasError:
        # Such as a callback of an empty group; the other test compares refusals.
        assume(condition=False)
    assume(outline(flat) == outline(nested))
    try:
        expected = sent(flat, call)
    except Exception:  # noqa: BLE001 - the other test compares refusals
        assume(condition=False)
    found = sent(nested, call)
    assert found == expected, difference(found, expected)


@pytest.mark.parametrize("own", [{}, {"reply_to": "mine"}])
@pytest.mark.parametrize("options", [{}, {"reply_to": "chords"}])
@pytest.mark.parametrize("called", [{}, {"reply_to": "called"}])
def test_a_chords_header_answers_if_celerys_does(sides, own, options, called):
    def found(side):
        header = [side.tasks["one"].s(1).set(**own)]
        made = side.chord(header, side.tasks["two"].s()).set(**options)
        return sent(made, Call(options=called))

    assert found(sides.celerant) == found(sides.celery)
