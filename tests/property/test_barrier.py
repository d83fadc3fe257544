from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from kombu.utils import json as kombu_json

from celerant._core import Barrier, Values
from celerant.errors import BarrierError

ARRIVED = range(1, 7)


class BarrierMachine(RuleBasedStateMachine):
    """The barrier against a dict of states."""

    def __init__(self):
        super().__init__()
        self.barrier = Barrier()
        self.states = []
        self.is_sealed = False
        self.completions = 0

    def _note(self, outcome):
        if outcome == "completed":
            self.completions += 1
            assert self.is_sealed
            assert 0 not in self.states

    @precondition(lambda self: not self.is_sealed)
    @rule(n=st.integers(0, 200))
    def grow(self, n):
        self.states += [0] * n
        assert self.barrier.grow(n) == len(self.states)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), state=st.sampled_from(ARRIVED))
    def arrive(self, data, state):
        index = data.draw(st.integers(0, len(self.states) - 1))
        was_pending = self.states[index] == 0
        outcome = self.barrier.arrive(index, state)
        assert (outcome == "duplicate") == (not was_pending)
        if was_pending:
            self.states[index] = state
        self._note(outcome)

    @precondition(lambda self: self.states)
    @rule(data=st.data(), state=st.sampled_from(ARRIVED))
    def arrive_range(self, data, state):
        start = data.draw(st.integers(0, len(self.states)))
        stop = data.draw(st.integers(start, len(self.states)))
        completed = self.barrier.arrive_range(start, stop, state)
        for index in range(start, stop):
            self.states[index] = self.states[index] or state
        self._note("completed" if completed else "pending")

    @precondition(lambda self: not self.is_sealed)
    @rule()
    def seal(self):
        self.is_sealed = True
        self._note(self.barrier.seal(len(self.states)))

    @rule(index=st.integers(0, 500), state=st.integers(-1, 300))
    def misuse(self, index, state):
        n = len(self.states)
        with pytest.raises(BarrierError):
            self.barrier.arrive(n + index, 1)
        with pytest.raises(BarrierError):
            self.barrier.seal(n + 1)
        if state not in ARRIVED:
            with pytest.raises((BarrierError, OverflowError)):
                self.barrier.arrive(0, state)
        if self.is_sealed:
            with pytest.raises(BarrierError):
                self.barrier.grow(1)
            with pytest.raises(BarrierError):
                self.barrier.seal(n)

    @invariant()
    def agrees(self):
        barrier, states = self.barrier, self.states
        assert len(barrier) == len(states)
        assert barrier.states() == bytes(states)
        assert barrier.remaining == states.count(0)
        assert barrier.counts() == [states.count(code) for code in range(7)]
        assert [barrier.count(code) for code in range(7)] == barrier.counts()
        assert barrier.pending(0, 10**6) == [i for i, s in enumerate(states) if not s]
        assert barrier.is_sealed == self.is_sealed
        complete = self.is_sealed and 0 not in states
        assert barrier.is_complete == complete
        assert self.completions == complete


TestBarrier = BarrierMachine.TestCase


@given(
    states=st.lists(st.sampled_from(range(7)), max_size=300),
    state=st.sampled_from(range(7)),
    start=st.integers(0, 320),
    limit=st.integers(0, 320),
)
def test_select_is_a_slice_of_those_in_the_state(states, state, start, limit):
    barrier = Barrier()
    barrier.grow(len(states))
    for index, code in enumerate(states):
        if code:
            barrier.arrive(index, code)
    found = [i for i, code in enumerate(states) if code == state and i >= start]
    assert barrier.select(state, start, limit) == found[:limit]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=9)
    | st.dates()
    | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["__type__", "__value__", "result"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(
            same(left[key], right[key]) for key in left
        )
    return left == right


@given(value=VALUES, dump=st.sampled_from([kombu_json.dumps, json.dumps]))
def test_a_parsed_value_is_equal_to_kombus_or_left_to_kombu(value, dump):
    meta = {"status": "SUCCESS", "result": value, "traceback": None}
    try:
        payload = dump(meta).encode()
    except TypeError:
        return
    values = Values()
    barrier = Barrier()
    barrier.grow(1)
    _, _, deferred = barrier.absorb([0], [payload], values)
    if deferred:
        assert barrier.remaining == 1
        return
    assert same(values.get(0), kombu_json.loads(payload)["result"])


NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)


@given(NUMBERS)
def test_numbers_are_read_as_python_reads_them(text):
    payload = b'{"status": "SUCCESS", "result": ' + text.encode() + b"}"
    values = Values()
    barrier = Barrier()
    barrier.grow(1)
    if not barrier.absorb([0], [payload], values)[2]:
        assert same(values.get(0), json.loads(text))
