"""Results as messages: a look takes in all replies, with no trip per member."""

from __future__ import annotations

import pytest
import redis.connection
from amqp.abstract_channel import AbstractChannel
from celery import group, states
from celery.app.task import Context

import celerant.celery

N = 300


@pytest.fixture(params=["rabbitmq", "redis"])
def broker(request):
    return request.param


@pytest.fixture
def side(broker, make_app):
    side = make_app(broker, "rpc://")
    celerant.celery.install()
    return side


@pytest.fixture
def trips(broker, monkeypatch):
    """The requests of this process that wait for answers, from here on."""
    seen = []
    method = AbstractChannel.send_method
    command = redis.connection.Connection.send_packed_command

    def counted_method(self, sig, *args, wait=None, **options):
        seen.append(sig)
        return method(self, sig, *args, wait=wait, **options)

    def counted_command(self, sent, *args, **options):
        seen.append(sent)
        return command(self, sent, *args, **options)

    if broker == "rabbitmq":
        monkeypatch.setattr(AbstractChannel, "send_method", counted_method)
    else:
        where = redis.connection.Connection
        monkeypatch.setattr(where, "send_packed_command", counted_command)
    return seen


def finish(side, ids, state=states.SUCCESS, value=None):
    """Reply as workers do."""
    for task_id in ids:
        request = Context(
            reply_to=side.app.thread_oid, correlation_id=task_id, children=[]
        )
        said = task_id if value is None else value
        side.app.backend.store_result(task_id, said, state, request=request)


def test_looking_costs_no_trip_per_member(side, broker, trips, volleys):
    result = group(side.add.s(i, i) for i in range(N)).apply_async()
    assert volleys
    ids = [one.id for one in result]
    assert not result.ready()
    trips.clear()
    assert result.waiting()
    assert (result.successful(), result.failed()) == (False, False)
    assert result.completed_count() == 0
    # On Redis a request for more is left open.
    assert len(trips) == (8 if broker == "rabbitmq" else 0)
    finish(side, ids[:200])
    finish(side, ids[200:201], states.FAILURE, KeyError("k"))
    finish(side, ids[201:202], states.STARTED)
    trips.clear()
    assert result.completed_count() == 200
    assert len(trips) <= (4 if broker == "rabbitmq" else 203)
    trips.clear()
    assert result.failed()
    assert result.waiting()
    assert len(trips) <= 4
    finish(side, ids[201:])
    assert result.ready()
    assert not result.successful()
    assert result.completed_count() == N - 1
    with pytest.raises(KeyError, match="k"):
        result.get(timeout=10)
    found = result.get(timeout=10, propagate=False)
    assert found[:200] + found[201:] == ids[:200] + ids[201:]


def test_the_first_look_sees_results_that_came_before_it(side):
    result = group(side.add.s(i, i) for i in range(N)).apply_async()
    ids = [one.id for one in result]
    finish(side, ids)
    assert result.ready()
    assert result.successful()
    assert result.get(timeout=10) == ids


def test_results_of_others_reach_their_own_results(side):
    alone = side.add.delay(1, 1)
    results = [group([side.add.s(i, i)] * 3).apply_async() for i in range(2)]
    ids = [[one.id for one in result] for result in results]
    done = []
    results[1].then(done.append)
    finish(side, [alone.id, *ids[1], *ids[0]])
    assert results[0].ready()
    assert [one.id for one in done] == [results[1].id]
    assert results[1].ready()
    assert alone.get(timeout=10) == alone.id
    assert [result.get(timeout=10) for result in results] == ids
