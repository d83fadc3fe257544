"""How far a connection to Redis finds its server."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celerant.dispatch.wires import redis_talk
from celerant.dispatch.wires.chunk_limits import NEAR, limits_over
from celerant.dispatch.wires.redis_talk import Talk


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(redis_talk, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def talk():
    talk = Talk(None)
    talk._redis = SimpleNamespace(send_packed_command=lambda *_, **__: None)
    return talk


@pytest.mark.parametrize("is_whole", [True, False])
def test_only_a_whole_write_is_answered(talk, clock, is_whole):
    talk.measure(0.01)
    talk.write(memoryview(b"EXEC"))
    clock.now = 0.011
    talk.write(memoryview(b"MULTI"), is_whole=is_whole)
    clock.now = 0.012
    talk.measure_write()
    assert talk.limits == (NEAR if is_whole else limits_over(0.01))


def test_a_server_that_was_found_far_may_be_found_near(talk, clock):
    talk.measure(0.01)
    talk.write(memoryview(b"EXEC"))
    clock.now = 0.001
    talk.measure_write()
    assert talk.limits == NEAR
