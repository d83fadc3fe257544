"""The interruption of a Celery group reports the sent members of the whole group."""

from __future__ import annotations

import json
import pickle

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, chord, group
from celery.exceptions import Retry
from kombu.exceptions import OperationalError

import celerant.celery
from harness.capture import drain
from harness.redis_server import RedisServer
from harness.services import redis_url
from harness.tasks import define_tasks

INTERRUPTIONS = [KeyboardInterrupt, SystemExit, SoftTimeLimitExceeded, Retry]
POLICY = {
    "max_retries": 1,
    "interval_start": 0.05,
    "interval_step": 0,
    "interval_max": 0.05,
}


def _indices(intervals):
    return [index for start, stop in intervals for index in range(start, stop)]


def _ids(url, queue):
    return [message.headers["id"] for message in drain(url, queue)]


@pytest.mark.parametrize("broker", ["memory", "redis", "rabbitmq"])
@pytest.mark.parametrize("kind", INTERRUPTIONS)
def test_an_interrupted_generator_says_which_members_of_all_volleys_left(
    make_app, volleys, kind, broker
):
    side = make_app(broker)
    raised = kind("stop")

    def members():
        yield from (side.add.s(i, 0) for i in range(700))
        raise raised

    celerant.celery.install()
    with pytest.raises(kind) as caught:
        group(members()).apply_async()

    assert caught.value is raised
    assert len(volleys) > 2
    report, found = raised.report, raised.result
    assert _indices(report.confirmed) == list(range(sum(volleys)))
    assert report.total == sum(volleys)
    ids = _ids(side.url, side.queue)
    assert sorted(found.results[i].id for i in _indices(report.confirmed)) == sorted(
        ids
    )
    assert len(set(ids)) == len(ids)


def test_an_interruption_on_celerys_own_path_tells_members_behind_and_before(
    make_app, volleys, monkeypatch
):
    side = make_app()
    add = side.add

    class Interrupting(celerant.celery.sending.canvas._chord):
        """A member that takes Celery's own path."""

        def apply_async(self, *_args, **_kwargs):
            raise KeyboardInterrupt

    slow = Interrupting([add.s(1, 1)], body=side.echo.s(), app=side.app)
    monkeypatch.setattr(Interrupting, "clone", lambda self, *_a, **_k: self)
    celerant.celery.install()
    with pytest.raises(KeyboardInterrupt) as caught:
        group([add.s(0, 0), add.s(1, 0), slow, add.s(3, 0), add.s(4, 0)]).apply_async()
    report = caught.value.report
    assert volleys == [2]
    assert report.confirmed == [(0, 2)]
    assert report.unknown == [(2, 3)]
    assert report.unsent == [(3, 5)]
    assert [found.id for found in caught.value.result.results[:2]] == _ids(
        side.url, side.queue
    )


def test_a_time_limit_before_anything_left_is_not_taken_for_a_broken_member(
    make_app, volleys, monkeypatch
):
    side = make_app()
    limits = [SoftTimeLimitExceeded()]

    def limited(_app):
        if limits:
            raise limits.pop()

    monkeypatch.setattr(celerant.celery.sending, "_open_replies", limited)
    celerant.celery.install()
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        group([side.add.s(i, 0) for i in range(3)]).apply_async()
    assert caught.value.report.unsent == [(0, 3)]
    assert not volleys
    assert _ids(side.url, side.queue) == []


def test_an_interrupted_chord_reports_the_sent_part_of_its_header(make_app):
    side = make_app("redis", redis_url(6))

    def members():
        yield from (side.add.s(i, 0) for i in range(40))
        raise KeyboardInterrupt

    celerant.celery.install()
    with pytest.raises(KeyboardInterrupt) as caught:
        chord(members())(side.echo.s())
    report = caught.value.report
    assert len(_ids(side.url, side.queue)) == report.counts()["confirmed"] > 0


@pytest.mark.timeout(90)
def test_a_lost_broker_has_volleys_before_it_in_its_report(tmp_path):
    with RedisServer(tmp_path) as server:
        app = Celery("swapin-lost", broker=server.url())
        app.conf.update(task_ignore_result=True, task_publish_retry_policy=POLICY)
        add = define_tasks(app, shared=False).add
        before = []

        def members():
            for i in range(600):
                if i == 200:
                    before.extend(
                        json.loads(m.body)[0][0] for m in drain(server.url(), "celery")
                    )
                    server.kill()
                yield add.s(i, 0)

        celerant.celery.install()
        with pytest.raises(OperationalError) as caught:
            group(members()).apply_async()
        report = caught.value.__cause__.report
        assert before
        assert _indices(report.confirmed) == sorted(before)
        assert report.total > len(before)
        assert len(caught.value.__cause__.result) == report.total


def test_an_interruption_is_pickled_with_its_report(make_app):
    side = make_app()

    def members():
        yield from (side.add.s(i, 0) for i in range(40))
        raise SoftTimeLimitExceeded

    celerant.celery.install()
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        group(members()).apply_async()
    # As the pool of a stock worker sends it to its parent.
    copy = pickle.loads(pickle.dumps(caught.value))
    assert copy.report.confirmed == caught.value.report.confirmed != []
    assert copy.report.total == caught.value.report.total
    assert [r.id for r in copy.result.results] == [
        r.id for r in caught.value.result.results
    ]
