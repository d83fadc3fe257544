from __future__ import annotations

import gc
import math
import weakref

import pytest
from kombu.utils import json

from celerant._core import Barrier, Values
from celerant.errors import BarrierError


def record(result, status="SUCCESS"):
    meta = {"status": status, "result": result, "traceback": None, "children": []}
    return json.dumps(meta).encode()


def test_values_land_in_their_slots_and_members_arrive(sealed):
    barrier, values = sealed(3), Values()
    done = barrier.absorb([2, 0], [record({"a": [1, 2.5]}), record("x")], values)
    assert done == (False, None, [])
    assert values.list(0, 3) == ["x", None, {"a": [1, 2.5]}]
    assert barrier.states() == bytes([1, 0, 1])
    assert barrier.absorb([1], [record(None)], values) == (True, None, [])


def test_the_first_failure_is_reported_and_its_record_kept(sealed):
    barrier, values = sealed(3), Values()
    bad = record({"exc_type": "KeyError"}, "FAILURE")
    revoked = record({"exc_type": "TaskRevokedError"}, "REVOKED")
    assert barrier.absorb([2, 1], [revoked, bad], values) == (False, 2, [])
    assert values.list(0, 3) == [None, bad, revoked]
    assert barrier.absorb([0, 1], [record(1), bad], values) == (True, None, [])


@pytest.mark.parametrize("status", ["STARTED", "RETRY", "PENDING", "RECEIVED", "MINE"])
def test_only_ready_states_arrive(sealed, status):
    barrier, values = sealed(1), Values()
    assert barrier.absorb([0], [record(1, status)], values) == (False, None, [])
    assert barrier.remaining == 1


def test_records_that_kombu_must_read_are_handed_back(sealed):
    barrier, values = sealed(5), Values()
    payloads = [
        record(2**70),
        b"\x00celery-compressed\x00application/x-gzip\x00..",
        record(b"bytes"),
        b"\x80\x04pickle",
        None,
    ]
    assert barrier.absorb([0, 1, 2, 3, 4], payloads, values) == (
        False,
        None,
        [0, 1, 2, 3],
    )
    assert barrier.remaining == 5


def test_numbers_that_json_does_not_have_arrive(sealed):
    barrier, values = sealed(1), Values()
    barrier.absorb([0], [record([math.nan, math.inf, -math.inf])], values)
    assert math.isnan(values.get(0)[0])
    assert values.get(0)[1:] == [math.inf, -math.inf]


def test_a_second_record_changes_nothing(sealed):
    barrier, values = sealed(1), Values()
    assert barrier.absorb([0], [record(1)], values) == (True, None, [])
    late = record({"exc_type": "E"}, "FAILURE")
    assert barrier.absorb([0], [late], values) == (False, None, [])
    assert values.list(0, 1) == [1]


def test_misuse_is_an_error(sealed):
    barrier = sealed(1)
    with pytest.raises(BarrierError, match="member 7 is unknown"):
        barrier.absorb([7], [record(1)], Values())
    with pytest.raises(ValueError, match="2 indices for 1 payloads"):
        barrier.absorb([0, 0], [record(1)], Values())
    for other in ([None], object()):
        with pytest.raises(TypeError):
            barrier.absorb([0], [record(1)], other)
    assert barrier.remaining == 1


def test_hostile_payload_objects_are_handed_back(sealed):
    barrier = sealed(2)
    assert barrier.absorb([0, 1], [object(), "text"], Values())[2] == [0, 1]


def test_a_new_barrier_inherits_all_but_unsent_members(sealed):
    old, new = sealed(4), sealed(4)
    old.arrive(0, Barrier.SUCCESS)
    old.arrive(1, Barrier.NOT_SENT)
    old.arrive(2, Barrier.FAILURE)
    assert new.inherit(old, Barrier.NOT_SENT, 0, 4) is False
    assert new.states() == bytes([Barrier.SUCCESS, 0, Barrier.FAILURE, 0])


def test_dropped_values_are_known_as_such_until_others_come():
    values = Values([1, None, "c"])
    assert len(values) == 2
    values.drop([0, 1, 600])
    assert values.list(0, 3) == [None, None, "c"]
    assert (values.dropped, values.is_dropped(1), values.is_dropped(2)) == (3, True, 0)
    values.set(0, "again")
    values.set(1, None)
    assert values.get(0) == "again"
    assert (values.dropped, values.is_dropped(1)) == (1, False)
    values.set(2, None)
    assert len(values) == 1
    assert values.get(10**6) is None


def test_values_that_hold_each_other_are_collected():
    class Node:
        pass

    values, node = Values(), Node()
    node.values = values
    values.set(3, node)
    gone = weakref.ref(node)
    del values, node
    gc.collect()
    assert gone() is None
