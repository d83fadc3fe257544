"""The result is Celery's `GroupResult`, read in bulk."""

from __future__ import annotations

import gc
import pickle
import threading

import celery
import pytest
from celery import chain, chord, group, states
from celery.result import GroupResult

import celerant.celery
from harness.capture import drain
from swapin.conftest import RESULTS


@pytest.fixture
def side(make_app):
    side = make_app("redis", RESULTS)
    celerant.celery.install()
    return side


@pytest.fixture
def commands(side, monkeypatch):
    """Names of the commands that the result store gets from here on."""
    client = side.app.backend.client
    seen = []
    execute = type(client).execute_command

    def counted(self, *args, **options):
        seen.append(args[0])
        return execute(self, *args, **options)

    monkeypatch.setattr(type(client), "execute_command", counted)
    return seen


def sent(side, n=2500):
    return group([side.add.s(i, i) for i in range(n)]).apply_async()


def finish(side, ids, state=states.SUCCESS, value=None):
    """Store results as workers do, in one go."""
    backend = side.app.backend
    payloads = {}
    for task_id in ids:
        said = task_id if value is None else value
        result = backend.prepare_value(said)
        if state in states.EXCEPTION_STATES:
            result = backend.prepare_exception(said)
        meta = backend._get_result_meta(result, state, None, None)
        payloads[backend.get_key_for_task(task_id)] = backend.encode(
            {**meta, "task_id": task_id}
        )
    pipeline = backend.client.pipeline()
    for key, payload in payloads.items():
        pipeline.set(key, payload, ex=60)
        pipeline.publish(key, payload)
    pipeline.execute()


def test_nothing_is_subscribed_or_made_when_sending(side, volleys, monkeypatch):
    made = []
    init = celery.result.AsyncResult.__init__

    def counted(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(celery.result.AsyncResult, "__init__", counted)
    result = sent(side)
    assert volleys == [2500]
    assert (len(result), made) == (2500, [])
    assert not side.app.backend.result_consumer.subscribed_to
    assert len(result.results) == len(made) == 2500


def test_a_chords_header_is_not_subscribed_to(side, volleys):
    header = [side.add.s(i, i) for i in range(20)]
    result = chord(header, side.echo.s()).apply_async()
    assert volleys == [20]
    assert not side.app.backend.result_consumer.subscribed_to
    assert len(result.parent) == 20
    client = side.app.backend.client
    key = side.app.backend.get_key_for_group(result.parent.id, ".s")
    assert int(client.get(key)) == 20


@pytest.mark.parametrize("following", [0, 1])
def test_a_group_that_waits_in_a_chain_is_not_subscribed_to(side, following):
    group_ = group([side.add.s(i) for i in range(20)])
    steps = [side.echo.s() for _ in range(following)]
    result = chain(side.add.s(1, 1), group_, *steps).apply_async()
    members = result.parent if following else result
    # The first task is sent by Celery itself, which subscribes to it.
    assert len(side.app.backend.result_consumer.subscribed_to) <= 1
    assert len(members) == len({found.id for found in members.results}) == 20
    (message,) = drain(side.url, side.queue)
    assert members.parent.id == message.headers["id"]
    ids = [found.id for found in members]
    finish(side, ids)
    assert members.ready()
    assert members.get(timeout=10) == ids


def test_looking_costs_one_read_per_thousand(side, commands):
    result = sent(side)
    ids = [one.id for one in result]
    commands.clear()
    assert not result.ready()
    assert result.waiting()
    assert result.completed_count() == 0
    assert (result.successful(), result.failed()) == (False, False)
    assert commands == ["MGET"] * 15
    finish(side, ids[:2000])
    commands.clear()
    assert result.completed_count() == 2000
    # Done members are not asked for again.
    assert result.completed_count() == 2000
    assert commands == ["MGET"] * 4
    finish(side, ids[2000:], states.FAILURE, KeyError("k"))
    assert result.ready()
    assert result.failed()
    assert not result.successful()
    assert (result.completed_count(), result.waiting()) == (2000, False)


def test_get_gives_values_in_order(side, commands):
    result = sent(side)
    ids = [one.id for one in result]
    finish(side, ids)
    commands.clear()
    assert result.get(timeout=10) == ids
    assert result.join_native(timeout=10) == ids
    assert commands == ["MGET"] * 3
    assert result.successful()


def test_get_waits(side):
    result = sent(side, 50)
    ids = [one.id for one in result]
    waiting = threading.Event()

    def work():
        waiting.wait()
        finish(side, ids)

    worker = threading.Thread(target=work)
    worker.start()
    assert result.get(timeout=20, on_interval=waiting.set) == ids
    worker.join()


def test_get_raises_the_error_of_a_task(side):
    result = sent(side, 3)
    ids = [one.id for one in result]
    finish(side, ids[:1])
    finish(side, ids[1:], states.FAILURE, KeyError("k"))
    with pytest.raises(KeyError):
        result.get(timeout=10)
    found = result.get(timeout=10, propagate=False)
    assert found[0] == ids[0]
    assert [type(value) for value in found[1:]] == [KeyError, KeyError]


def test_get_times_out_as_celerys(side):
    result = sent(side, 3)
    with pytest.raises(celery.exceptions.TimeoutError):
        result.get(timeout=0.01)


def test_get_calls_back(side):
    result = sent(side, 3)
    ids = [one.id for one in result]
    finish(side, ids)
    told = []
    assert result.get(timeout=10, callback=lambda *said: told.append(said)) is None
    assert sorted(told) == sorted((task_id, task_id) for task_id in ids)


def test_then_is_called_once_all_are_done(side):
    result = sent(side, 3)
    done = []
    result.then(done.append)
    ids = [one.id for one in result]
    assert not done
    finish(side, ids)
    assert result.get(timeout=10) == ids
    assert [one.id for one in done] == [result.id]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")
def test_a_volleys_result_is_saved_restored_and_forgotten(side):
    result = sent(side, 3)
    ids = [one.id for one in result]
    finish(side, ids)
    result.save()
    restored = GroupResult.restore(result.id, app=side.app)
    assert restored == result
    assert type(restored) is side.app.GroupResult
    assert restored.get(timeout=10) == ids
    result.delete()
    assert GroupResult.restore(result.id, app=side.app) is None
    result.forget()
    assert [side.app.AsyncResult(i).state for i in ids] == [states.PENDING] * 3


def test_a_volleys_result_is_pickled_as_celerys(side):
    side.app.set_current()
    result = sent(side, 3)
    loaded = pickle.loads(pickle.dumps(result))
    assert type(loaded) is side.app.GroupResult
    assert loaded == result
    assert loaded.as_tuple() == result.as_tuple()


def test_a_volleys_result_can_be_changed_as_celerys(side):
    result = sent(side, 3)
    ids = [one.id for one in result]
    result.remove(ids[0])
    assert [one.id for one in result] == ids[1:]
    finish(side, ids)
    assert result.get(timeout=10) == ids[1:]
    other = sent(side, 1)[0]
    result.add(other)
    assert len(result) == 3
    finish(side, [other.id])
    assert result.get(timeout=10) == [*ids[1:], other.id]


def test_groups_of_groups_wait_for_all(side):
    results = [sent(side, 2), sent(side, 2)]
    ids = [one.id for result in results for one in result]
    both = side.app.GroupResult("both", results)
    finish(side, ids)
    assert both.get(timeout=10) == [ids[:2], ids[2:]]


def test_members_come_natively_as_they_are_done(side, commands):
    result = sent(side, 5)
    ids = [one.id for one in result]
    finish(side, ids[3:])
    commands.clear()
    found = result.iter_native(timeout=20, interval=0.01)
    first = [next(found), next(found)]
    assert [(i, meta["result"]) for i, meta in first] == [(i, i) for i in ids[3:]]
    finish(side, ids[:3])
    assert sorted(i for i, _ in found) == sorted(ids[:3])
    assert "SUBSCRIBE" not in commands
    assert result.join(timeout=10) == ids


def test_the_graph_is_celerys(side):
    """A result of a task that sent a group has it among its children."""
    result = sent(side, 3)
    ids = [one.id for one in result]
    parent = side.app.AsyncResult("parent")
    backend = side.app.backend
    meta = backend._get_result_meta("done", states.SUCCESS, None, None)
    children = [result.as_tuple()]
    payload = backend.encode({**meta, "task_id": "parent", "children": children})
    backend.client.set(backend.get_key_for_task("parent"), payload, ex=60)
    finish(side, ids)
    assert [child.id for child in parent.children[0]] == ids
    assert {str(node) for node in parent.graph} == {"parent", result.id, *ids}


def test_revoke_names_all_members(side, monkeypatch):
    revoked = []
    monkeypatch.setattr(
        side.app.control, "revoke", lambda ids, **_: revoked.extend(ids)
    )
    result = sent(side, 3)
    result.revoke()
    assert revoked == [one.id for one in result]


def test_a_result_that_nobody_keeps_leaves_nothing(side):
    result = sent(side, 100)
    assert not result.ready()
    del result
    gc.collect()
    consumer = side.app.backend.result_consumer
    assert not consumer.subscribed_to
    assert not any(side.app.backend._pending_results)


def test_results_on_other_stores_are_read_in_bulk_too(make_app, volleys):
    side = make_app(backend="cache+memory://")
    celerant.celery.install()
    result = group([side.add.s(i, i) for i in range(5)]).apply_async()
    assert volleys == [5]
    assert not result.ready()
    for one in result:
        side.app.backend.store_result(one.id, one.id, states.SUCCESS)
    assert result.completed_count() == 5
    assert result.get(timeout=10) == [one.id for one in result]
