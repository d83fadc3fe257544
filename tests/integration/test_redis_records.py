"""Records stored many at a time are what storing them one by one makes."""

from __future__ import annotations

import uuid

import pytest

from celerant.context.request import Request
from celerant.results.backends import open_backend

ACLS = {
    "all": "user some on >secret ~* &* +@all -@admin",
    "no scripts": "user some on >secret ~* &* +@all -@admin -@scripting",
}


@pytest.fixture(params=list(ACLS))
def place(request, redis_server):
    server = redis_server(acl=[ACLS[request.param]])
    backend = open_backend(server.url("some", "secret"), name="records")
    yield server, backend
    backend.close()


def _rows(backend, states):
    return [
        (
            task_id,
            backend.encode_result(
                task_id, value, state, request=Request(task_id, "task")
            ),
            state,
        )
        for task_id, value, state in states
    ]


def test_records_are_stored_published_and_expire(place):
    server, backend = place
    rows = _rows(backend, [(f"t{n}", n, "SUCCESS") for n in range(1_200)])
    with server.client() as client, client.pubsub() as heard:
        heard.psubscribe("celery-task-meta-*")
        assert heard.get_message(timeout=5)["type"] == "psubscribe"
        backend.store_many(rows)
        told = {}
        while len(told) < len(rows):
            message = heard.get_message(timeout=5)
            told[message["channel"].decode()] = message["data"]
        assert told == {f"celery-task-meta-{key}": payload for key, payload, _ in rows}
        for key, payload, _ in rows[::100]:
            assert client.get(f"celery-task-meta-{key}") == payload
            assert 0 < client.ttl(f"celery-task-meta-{key}") <= backend.expires


def test_stored_records_are_kept_or_replaced_as_one_by_one(place):
    _, backend = place
    before = [
        ("success", 1, "SUCCESS"),
        ("failure", ValueError("x"), "FAILURE"),
        ("started", {"pid": 1}, "STARTED"),
    ]
    backend.store_many(_rows(backend, before))
    now = [(name, 2, "SUCCESS") for name in ("success", "failure", "started", "none")]
    backend.store_many(_rows(backend, now))
    found = {name: backend.decode(backend.read(name))["result"] for name, _, _ in now}
    assert found == {"success": 1, "failure": 2, "started": 2, "none": 2}


@pytest.mark.parametrize(
    ("end", "value"), [("FAILURE", ValueError("x")), ("STARTED", {"pid": 1})]
)
def test_a_task_that_is_twice_in_a_volley_keeps_its_success(place, end, value):
    _, backend = place
    ids = [f"t{n}" for n in range(3)]
    backend.store_many(_rows(backend, [(name, {}, "STARTED") for name in ids]))
    twice = [(name, 1, "SUCCESS") for name in ids]
    twice += [(name, value, end) for name in ids]
    backend.store_many(_rows(backend, twice))
    found = [backend.decode(backend.read(name)) for name in ids]
    assert [meta["status"] for meta in found] == ["SUCCESS"] * 3
    assert [meta["result"] for meta in found] == [1] * 3


def test_an_emptied_cache_of_scripts_costs_nothing(place):
    server, backend = place
    backend.store_many(_rows(backend, [("a", 1, "SUCCESS")]))
    with server.client() as client:
        client.script_flush()
    backend.store_many(_rows(backend, [("b", 2, "SUCCESS")]))
    assert backend.decode(backend.read("b"))["result"] == 2


@pytest.mark.parametrize("before", [None, "STARTED"])
@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_run_that_ends_while_the_retry_before_it_is_stored_keeps_its_end(
    redis_url, store, before, monkeypatch
):
    url = redis_url["backend"] if store == "redis" else "memory://"
    task_id = str(uuid.uuid4())
    backend, other = (open_backend(url, name="retry") for _ in range(2))
    if before:
        backend.store_result(task_id, None, before)
    may_replace = backend.may_replace

    def end_in_between(stored, state):
        answer = may_replace(stored, state)
        other.store_result(task_id, 7, "SUCCESS")
        return answer

    monkeypatch.setattr(backend, "may_replace", end_in_between)
    backend.store_result(task_id, KeyError("once more"), "RETRY")
    assert backend.decode(backend.read(task_id))["result"] == 7
    backend.forget([task_id])
    for one in (backend, other):
        one.close()


def test_a_retry_is_stored_where_nothing_may_be_watched(redis_server):
    acl = "user some on >secret ~* &* +@all -@admin -watch"
    server = redis_server(acl=[acl])
    backend = open_backend(server.url("some", "secret"), name="records")
    backend.store_result("a", KeyError("once more"), "RETRY")
    assert backend.decode(backend.read("a"))["status"] == "RETRY"
    backend.close()
