"""A roster's shapes of members that are not single tasks."""

from __future__ import annotations

import json
import os
import random

import pytest

from celerant._core import Roster

ONE = [[1, None], [None, None]]
TWO = [["given", None], [2, [[[3, None]], [[None, None]]]]]
THREE = [[7, []]]


def spread(roster, count):
    """The shape of each member, None if it has none."""
    kept = [None] * count
    for start, stop, shape in roster.shapes():
        kept[start:stop] = [shape] * (stop - start)
    return json.loads(json.dumps(kept))


def test_members_that_are_alike_share_an_entry():
    roster = Roster(os.urandom(16), 1000)
    for index in range(1000):
        roster.keep_shapes(index, index + 1, ONE)
    assert [run[:2] for run in roster.shapes()] == [(0, 1000)]


def test_the_last_word_on_a_member_holds():
    choose = random.Random(7)
    roster, expected = Roster(os.urandom(16), 40), [None] * 40
    for _ in range(500):
        start, stop = sorted(choose.choices(range(41), k=2))
        shape = choose.choice([ONE, TWO, THREE])
        roster.keep_shapes(start, stop, shape)
        expected[start:stop] = [shape] * (stop - start)
        assert spread(roster, 40) == expected


def test_ids_derive_from_the_member_s():
    roster = Roster(os.urandom(16), 2)
    roster.keep_shapes(0, 2, TWO)
    (own, parent), members = roster.form(1)
    assert parent == (("given", None), None)
    assert members[1] == ((roster.id(1), None), None)
    inner = [own, members[0][0][0]]
    assert len({*inner, *roster.ids(0, 2), roster.form(0)[0][0]}) == 5
    roster.adopt(1, "mine")
    assert roster.form(1)[1][1] == (("mine", None), None)
    assert Roster(roster.seed, 2).form(1) is None


@pytest.mark.parametrize("shape", [[], [[1]], [[1, None, None]], [[1.5, None]], 7, [7]])
def test_a_malformed_shape_is_refused(shape):
    with pytest.raises(TypeError):
        Roster(os.urandom(16), 1).keep_shapes(0, 1, shape)
