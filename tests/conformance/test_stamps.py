"""Stamps as Celery's messages carry them, by visitors of either library.

Random canvases are in `test_canvas_oracle.py`.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.canvases import Call
from harness.oracle import both_sides, sent, stamps_apart


@pytest.fixture(scope="module")
def sides():
    with both_sides() as both:
        yield both


def _lib(side):
    task = side.tasks["one"]
    return SimpleNamespace(
        s=task.s, group=side.group, chain=side.chain, chord=side.chord, app=side.app
    )


def _linked(lib):
    made = lib.s(1)
    made.link(lib.s(2))
    made.link(lib.s(3))
    made.link_error(lib.s(4))
    return made


def _linked_chain(lib):
    made = lib.chain(lib.s(1), lib.s(2), link=[lib.s(3)], link_error=[lib.s(4)])
    made.tasks[0].link(lib.s(5))
    return made


HOOKS = (
    "on_signature",
    "on_group_start",
    "on_group_end",
    "on_chain_start",
    "on_chain_end",
    "on_chord_header_start",
    "on_chord_header_end",
    "on_chord_body",
    "on_callback",
    "on_errback",
)
CANVASES = {
    "task": lambda lib: lib.s(1),
    "callbacks": _linked,
    "callbacks-as-dicts": lambda lib: lib.s(1).set(
        link=[dict(lib.s(2))], link_error=dict(lib.s(3))
    ),
    "group": lambda lib: lib.group([lib.s(1), lib.s(2)]),
    "group-of-arguments": lambda lib: lib.group(lib.s(1), lib.s(2)),
    "group-of-dicts": lambda lib: lib.group([dict(lib.s(1)), lib.s(2)], app=lib.app),
    "generator": lambda lib: lib.group(lib.s(i) for i in range(5)),
    "chain": _linked_chain,
    "chord": lambda lib: lib.chord([lib.s(1), lib.s(2)], lib.s(3)),
    "chord-of-a-generator": lambda lib: lib.chord(
        (lib.s(i) for i in range(3)), lib.s(3)
    ),
    "all-of-it": lambda lib: lib.chain(
        lib.s(1),
        lib.group(_linked(lib), lib.chord([_linked(lib), lib.s(6)], lib.s(7))),
        lib.s(8),
        lib.group(lib.s(9), lib.chain(lib.s(10), lib.s(11))),
    ),
}


def _watching(base, seen):
    """A visitor that returns other stamps each time, and notes its arguments."""

    def hook(name, said):
        def called(_self, part, **headers):
            kind = part["subtask_type"] or part.args
            headers["stamped_headers"] = sorted(headers.get("stamped_headers", ()))
            seen.append((name, kind, headers))
            return {name: len(seen)} if said else None

        return called

    names = {
        name: name.endswith(("_start", "signature", "back", "body")) for name in HOOKS
    }
    return type("Watching", (base,), {n: hook(n, said) for n, said in names.items()})()


def _constant(base):
    class Constant(base):
        def on_signature(self, _sig, **_headers):
            return {"by": "visitor"}

    return Constant()


def _silent(base):
    class Silent(base):
        def on_signature(self, _sig, **_headers):
            """Says nothing."""

    return Silent()


STAMPINGS = {
    "names": lambda _base: [((), {"a": 1, "b": [2, 3]})],
    "twice": lambda _base: [((), {"a": 1}), ((), {"a": 2, "b": 1})],
    "appended": lambda _base: [((), {"a": 1}), ((None, True), {"a": 2, "b": 1})],
    "appended-three-times": lambda _base: [
        ((), {"a": 1}),
        ((None, True), {"a": 2}),
        ((None, True), {"a": 3}),
    ],
    "constant": lambda base: [((_constant(base),), {"a": 1})],
    "silent": lambda base: [((_silent(base),), {})],
    "several": lambda base: [
        ((_constant(base),), {"a": 1}),
        ((_constant(base), True), {"b": 1}),
    ],
    "options-and-stamps": lambda base: [((_options(base),), {})],
}


def _options(base):
    class Options(base):
        def on_signature(self, sig, **_headers):
            said = {"priority": 3, "arg": list(sig.args)}
            return {**said, "stamped_headers": ["arg"]}

    return Options()


def _stamped(side, canvas, stampings):
    made = canvas(_lib(side))
    for args, headers in stampings:
        made.stamp(*args, **headers)
    return made


@pytest.mark.parametrize("stamping", STAMPINGS)
@pytest.mark.parametrize("canvas", CANVASES)
def test_stamped_messages_are_celerys(sides, canvas, stamping):
    expected, ours, with_celerys = (
        sent(_stamped(side, CANVASES[canvas], STAMPINGS[stamping](base)))
        for side, base in (
            (sides.celery, sides.celery.visitor),
            (sides.celerant, sides.celerant.visitor),
            (sides.celerant, sides.celery.visitor),
        )
    )

    assert "stamped_headers" in expected[0]["headers"]
    assert ours == expected
    assert with_celerys == expected


@pytest.mark.parametrize("canvas", CANVASES)
def test_a_visitor_is_asked_and_told_as_by_celery(sides, canvas):
    def seen(side, base):
        calls = []
        with stamps_apart():
            sent(
                _stamped(
                    side, CANVASES[canvas], [((_watching(base, calls),), {"a": 1})]
                )
            )
        return calls

    expected = seen(sides.celery, sides.celery.visitor)

    assert seen(sides.celerant, sides.celerant.visitor) == expected
    assert seen(sides.celerant, sides.celery.visitor) == expected


def test_a_visitor_of_celerys_gets_headers_as_groups(sides):
    class Groups(sides.celery.visitor):
        def on_signature(self, _sig, **_headers):
            return {}

        def on_group_start(self, group, **_headers):
            return {"kind": group["subtask_type"], "members": len(group.tasks)}

    def stamped(side):
        return sent(_stamped(side, CANVASES["chord"], [((Groups(),), {})]))

    assert stamped(sides.celerant) == stamped(sides.celery)


@pytest.mark.parametrize("canvas", ["task", "group", "chain", "chain-of-options"])
def test_a_calls_stamps_are_left_out_if_the_signature_has_others(sides, canvas):
    def stamps(side):
        own = _lib(side).s(1).set(stamped_headers=["own"], own=1)
        made = {
            "task": own,
            "group": side.group([own, own]),
            "chain": side.chain(own, _lib(side).s(2)),
            "chain-of-options": side.chain(_lib(side).s(1), _lib(side).s(2)).set(
                stamped_headers=["own"], own=1
            ),
        }[canvas]
        call = Call(options={"stamped_headers": ["calls"], "calls": 2})
        return [message["headers"]["stamps"] for message in sent(made, call)]

    assert stamps(sides.celerant) == stamps(sides.celery)
