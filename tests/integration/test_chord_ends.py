"""A chord's body ends for every end of a member of its header."""

from __future__ import annotations

import base64
import json
import threading
import uuid

import pytest

from celerant import Celerant, ChordError, Reject, chain, chord
from harness import services
from harness.until import until

pytestmark = pytest.mark.timeout(120)

WAIT = 20


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def app(request, make_app):
    if request.param == "memory":
        app = Celerant(f"celerant-test-{uuid.uuid4().hex[:8]}")
        yield app
        app.close()
        return
    yield make_app(request.param)


@pytest.fixture
def tasks(app):
    @app.task(name="ends.one")
    def one(*_):
        return 1

    @app.task(name="ends.total")
    def total(values):
        return sum(values)

    @app.task(name="ends.reject", acks_late=True)
    def reject():
        raise Reject("no", requeue=False)

    @app.task(name="ends.reject_early")
    def reject_early():
        raise Reject("no", requeue=False)

    return app.tasks


def _error(result):
    error = result.get(timeout=WAIT, propagate=False)
    assert isinstance(error, ChordError), error
    return error


def _body(tasks, *members):
    one, total = tasks["ends.one"], tasks["ends.total"]
    return chord([one.si(), *members, one.si()])(total.s())


def test_a_member_revoked_before_it_is_sent_fails_the_body(app, tasks):
    task_id = str(uuid.uuid4())
    with app.worker(concurrency=2):
        app.control.revoke(task_id)
        _wait_revoked(app, task_id)
        member = tasks["ends.one"].si().set(task_id=task_id)
        assert "revoked" in str(_error(_body(tasks, member)))


def _wait_revoked(app, task_id):
    until(lambda: app.AsyncResult(task_id).state == "REVOKED", WAIT)


@pytest.mark.parametrize("by", ["id", "stamp"])
def test_a_member_revoked_while_it_waits_for_its_eta_fails_the_body(app, tasks, by):
    task_id = str(uuid.uuid4())
    member = tasks["ends.one"].si().set(task_id=task_id, countdown=3600)
    if by == "stamp":
        member.stamp(tenant="eight")
    with app.worker(concurrency=2) as worker:
        body = _body(tasks, member)
        _wait_held(worker, task_id)
        if by == "stamp":
            app.control.revoke_by_stamped_headers({"tenant": "eight"})
        else:
            app.control.revoke(task_id)
        assert "revoked" in str(_error(body))
        assert app.AsyncResult(task_id).state == "REVOKED"


def _wait_held(worker, task_id):
    def held():
        return [delivery.request.id for delivery in worker._source.unstarted()]

    until(lambda: task_id in held(), WAIT)


def test_a_step_revoked_while_it_waits_for_its_eta_fails_those_after_it(app, tasks):
    task_id, one = str(uuid.uuid4()), tasks["ends.one"]
    with app.worker(concurrency=1) as worker:
        first = one.si().set(task_id=task_id, countdown=3600)
        last = chain(first, one.si(), one.si())()
        _wait_held(worker, task_id)
        app.control.revoke([task_id])
        last.get(timeout=WAIT, propagate=False, follow_parents=False)
        assert last.state == "REVOKED"


def test_a_later_step_of_a_member_that_is_revoked_fails_the_body(app, tasks):
    task_id, one = str(uuid.uuid4()), tasks["ends.one"]
    with app.worker(concurrency=2):
        app.control.revoke(task_id)
        _wait_revoked(app, task_id)
        member = chain(one.si(), one.si().set(task_id=task_id))
        assert "revoked" in str(_error(_body(tasks, member)))


def test_a_revoked_step_after_one_that_fails_fails_the_body(app, tasks):
    # The record of the last step is there before its part is counted.
    task_id, one = str(uuid.uuid4()), tasks["ends.one"]
    with app.worker(concurrency=2):
        app.control.revoke(task_id)
        _wait_revoked(app, task_id)
        member = chain(tasks["ends.reject"].si(), one.si().set(task_id=task_id))
        _error(_body(tasks, member))


def test_a_member_that_has_expired_fails_the_body(app, tasks):
    with app.worker(concurrency=2):
        member = tasks["ends.one"].si().set(expires=-1)
        assert "expired" in str(_error(_body(tasks, member)))


@pytest.mark.parametrize("name", ["ends.reject", "ends.reject_early"])
def test_a_rejected_member_fails_the_body(app, tasks, name):
    with app.worker(concurrency=2):
        assert "no" in str(_error(_body(tasks, tasks[name].si())))


def test_a_member_unknown_to_the_worker_fails_the_body(app, tasks):
    with app.worker(concurrency=2):
        member = app.signature("ends.unheard")
        assert "NotRegistered" in str(_error(_body(tasks, member)))


def _spoil(raw, change):
    message = json.loads(raw)
    args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
    body = {
        "args": args,
        "kwargs": kwargs,
        "embed": embed,
        "headers": message["headers"],
    }
    change(body, message["headers"])
    packed = json.dumps([body["args"], body["kwargs"], body["embed"]])
    message["body"] = base64.b64encode(packed.encode()).decode()
    return json.dumps(message)


SPOILT = {
    "args": lambda body, _: body.update(args=5),
    "kwargs": lambda body, _: body.update(kwargs=[1]),
    "errbacks": lambda body, _: body["embed"].update(errbacks=5),
    "callbacks": lambda body, _: body["embed"].update(callbacks="x"),
    "limits": lambda _, headers: headers.update(timelimit="x"),
    "eta": lambda _, headers: headers.update(eta="tomorrow"),
    "task": lambda _, headers: headers.update(task=5),
}


@pytest.mark.parametrize("part", SPOILT)
def test_a_member_whose_message_is_broken_fails_the_body(make_app, part):
    app = make_app("redis")
    one = app.task(lambda: 1, name="ends.one")
    total = app.task(sum, name="ends.total")
    body = chord([one.si(), one.si()])(total.s())
    with services.redis_client(7) as client:
        raw = client.rpop(app.name)
        client.rpush(app.name, _spoil(raw, SPOILT[part]))
    with app.worker(concurrency=1):
        _error(body)


def _error_of_part(app, part):
    """Put `part` in the place of a stored one; return the body's error."""
    go_on = threading.Event()
    one = app.task(lambda: 1, name="ends.one")
    last = app.task(lambda: go_on.wait(WAIT) and 2, name="ends.last")
    total = app.task(sum, name="ends.total")
    with app.worker(concurrency=2), services.redis_client(8) as store:
        body = chord([one.s(), last.s()])(total.s())
        key = f"celery-taskset-meta-{body.parent.id}.j"
        until(lambda: store.exists(key), WAIT)
        store.delete(key)
        store.zadd(key, {part: 0})
        go_on.set()
        return _error(body)


def test_a_part_that_cannot_be_read_fails_the_body(make_app):
    error = _error_of_part(make_app("redis"), b"\x80\x04not json")
    assert "Join error" in str(error)


@pytest.mark.parametrize("part", [b"[]", b"5", b'[1,"x",[],1]', b'["a","b"]'])
def test_a_part_of_a_wrong_shape_fails_the_body(make_app, part):
    _error_of_part(make_app("redis"), part)


def test_a_part_that_cannot_be_counted_fails_the_body(make_app):
    app = make_app("redis")
    one = app.task(lambda: 1, name="ends.one")
    total = app.task(sum, name="ends.total")
    body = chord([one.s(), one.s()])(total.s())
    with services.redis_client(8) as store:
        # No sorted set: Redis refuses to add to it.
        store.set(f"celery-taskset-meta-{body.parent.id}.j", "taken", ex=600)
    with app.worker(concurrency=1):
        assert "is lost" in str(_error(body))
