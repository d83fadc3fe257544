"""The failures of a group, those that are alike together."""

from __future__ import annotations

import time

import pytest

from celerant import Celerant, group
from celerant._core import Barrier
from celerant._core import Failures as Counter
from celerant.errors import ResultExpired
from celerant.results.backends import open_backend
from harness.groups import Fed, group_of
from harness.until import until

WAIT = 10
TRACE = """Traceback (most recent call last):
  File "/srv/shop/tasks.py", line {line}, in {function}
    load(x)
  File "/venv/lib/python3.11/site-packages/client.py", line 90, in get
    raise error
ValueError: no
"""


class OutOfStockError(Exception):
    pass


def fail(backend, task_id, error, line=7, function="load"):
    text = TRACE.format(line=line, function=function)
    backend.store_result(task_id, error, "FAILURE", text)


@pytest.fixture
def fed(memory):
    """Ten members: three kinds of failures, and others."""
    fed = Fed(memory)
    fed.grow(10)
    ids = fed.members.roster.ids(0, 10)
    for index in (1, 2, 9):
        fail(memory, ids[index], OutOfStockError(f"item {index}"))
    for index in (3, 4):
        fail(memory, ids[index], ValueError("no", index), line=12, function="pay")
    fail(memory, ids[5], OutOfStockError("there"), line=40)
    fed.store(0, 6, 7)
    fed.seal()
    return fed


def told(failures):
    return [(one.exc_type, one.message, one.count, one.indices) for one in failures]


EXPECTED = [
    (f"{__name__}.OutOfStockError", "item 1", 3, (1, 2, 9)),
    ("ValueError", '"no", 3', 2, (3, 4)),
    (f"{__name__}.OutOfStockError", "there", 1, (5,)),
]


def test_failures_of_one_exception_and_place_are_together_the_most_first(fed):
    failures = fed.result.failures()
    assert told(failures) == EXPECTED
    assert failures.total == 6
    first = failures[0]
    assert first.frame == "/srv/shop/tasks.py:7 in load"
    assert first.ids == tuple(fed.members.roster.select([1, 2, 9]))
    assert failures[1].frame == "/srv/shop/tasks.py:12 in pay"


def test_failures_whose_exceptions_were_asked_for_are_told_alike(fed):
    for member in fed.result:
        if member.failed():
            member.get(timeout=0, propagate=False)
    again = fed.result.failures()
    assert [(one.exc_type, one.frame, one.count) for one in again] == [
        (f"{__name__}.OutOfStockError", "/srv/shop/tasks.py:7 in load", 3),
        ("ValueError", "/srv/shop/tasks.py:12 in pay", 2),
        (f"{__name__}.OutOfStockError", "/srv/shop/tasks.py:40 in load", 1),
    ]


def test_a_shared_store_is_read_and_nothing_of_it_kept(fake):
    fake.supports_handles = True
    result = group_of(2500, fake)
    for index in range(0, 2500, 5):
        error = OutOfStockError(index) if index % 2 else ValueError("no")
        fail(fake, result.roster.id(index), error)
    fake.fetched.clear()
    failures = result.failures()
    assert [(one.exc_type, one.count) for one in failures] == [
        ("ValueError", 250),
        (f"{__name__}.OutOfStockError", 250),
    ]
    assert failures[0].indices == (0, 10, 20, 30, 40)
    assert [len(ids) for ids in fake.fetched] == [1000, 1000, 500]
    assert len(result.members.values) == 0
    assert not result.members.is_watched
    # What is known here already is told by its record, too.
    assert result[0].get(timeout=WAIT, propagate=False).args == ("no",)
    assert told(result.failures()) == told(failures)


def test_failures_have_unsent_and_expired_members_but_no_revoked_ones(fed):
    fed = Fed(fed.members.backend)
    fed.grow(20)
    fed.members.settle(range(12), Barrier.NOT_SENT)
    fed.members.settle([12, 13], Barrier.EXPIRED)
    fed.members.settle([14], Barrier.REVOKED)
    fed.members.settle(range(15, 20), Barrier.IGNORED)
    fed.seal()
    failures = fed.result.failures()
    assert [(one.exc_type, one.count, one.indices) for one in failures] == [
        ("celerant.errors.NotSent", 12, (0, 1, 2, 3, 4)),
        ("celerant.errors.ResultExpired", 2, (12, 13)),
    ]
    assert failures.total == 14


@pytest.mark.parametrize("ago", [0, 10])
def test_what_a_shared_store_does_not_have_any_more_is_a_failure(fake, ago):
    fake.supports_handles = True
    fake.expires = 5
    result = group_of(1500, fake, sent_at=time.time() - ago)
    fake.store_result(result.roster.id(0), 1, "SUCCESS")
    fail(fake, result.roster.id(1), ValueError("no"))
    failures = result.failures()
    late = [("celerant.errors.ResultExpired", 1498, (2, 3, 4, 5, 6))] if ago else []
    assert [(one.exc_type, one.count, one.indices) for one in failures] == [
        *late,
        ("ValueError", 1, (1,)),
    ]
    # The others are as they were.
    assert not result.members.is_watched
    assert result[0].get(timeout=WAIT) == 1
    assert result.failures().total == failures.total


def test_members_of_a_group_that_is_being_sent_are_not_taken_for_expired(fake):
    fake.supports_handles = True
    fake.expires = 5
    fed = Fed(fake)
    fed.members.sent_at = time.time() - 10
    fed.grow(3)
    assert fed.result.failures().total == 0


def test_failures_of_a_store_that_only_kombu_reads_are_told():
    backend = open_backend(
        "memory://", name="pickled", serializer="pickle", accept=["pickle"]
    )
    try:
        fed = Fed(backend)
        fed.grow(2)
        fail(backend, fed.result[1].id, ValueError("pickled"))
        fed.seal()
        failures = fed.result.failures()
    finally:
        backend.close()
    assert [(one.exc_type, one.message, one.frame) for one in failures] == [
        ("ValueError", "pickled", "/srv/shop/tasks.py:7 in load")
    ]


def test_failures_that_happened_here_name_their_line():
    with Celerant("failures-eager", task_always_eager=True) as app:

        @app.task
        def odd(x):
            if not x % 2:
                raise OutOfStockError(x)
            return x

        failures = group(odd.s(n) for n in range(4)).apply_async().failures()
    assert [(one.count, one.indices) for one in failures] == [(2, (0, 2))]
    assert failures[0].frame.endswith("in odd")
    assert __file__ in failures[0].frame


def test_the_worker_s_failures_name_the_user_s_line():
    with Celerant("failures-worker") as app, app.worker():

        @app.task
        def odd(x):
            if not x % 2:
                raise OutOfStockError(x)
            return x

        result = group(odd.s(n) for n in range(4)).apply_async()
        result.wait(WAIT)
        failures = result.failures()
    assert [(one.count, one.indices) for one in failures] == [(2, (0, 2))]
    assert failures[0].frame.endswith("in odd")


def test_a_failure_inside_a_member_that_is_a_group_is_told(memory):
    fed = Fed(memory)
    fed.grow(2, shapes={1: [("inner", [[("b", None)], [("c", None)]])]})
    fed.seal()
    fail(memory, "c", ValueError("inside"))
    fed.store(0)
    memory.store_result("b", 1, "SUCCESS")
    fed.result.wait(WAIT)
    assert told(fed.result.failures()) == [("ValueError", "inside", 1, (1,))]


def test_a_failure_inside_of_a_group_on_a_shared_store_is_told_without_a_wait(fake):
    fake.supports_handles = True
    fed = Fed(fake)
    fed.grow(2, shapes={1: [("inner", [[("b", None)], [("c", None)]])]})
    fed.seal()
    fail(fake, "c", ValueError("inside"))
    fake.store_result("b", 1, "SUCCESS")
    assert told(fed.result.failures()) == [("ValueError", "inside", 1, (1,))]


def test_the_text_is_for_a_ticket(fed):
    text = str(fed.result.failures())
    ids = fed.members.roster.ids(0, 10)
    assert text.splitlines() == [
        f"6 of 10 members of group {fed.result.id} failed, in 3 ways:",
        "",
        f"3 x {__name__}.OutOfStockError: item 1",
        "    /srv/shop/tasks.py:7 in load",
        f"    [1] {ids[1]}, [2] {ids[2]}, [9] {ids[9]}",
        "",
        '2 x ValueError: "no", 3',
        "    /srv/shop/tasks.py:12 in pay",
        f"    [3] {ids[3]}, [4] {ids[4]}",
        "",
        f"1 x {__name__}.OutOfStockError: there",
        "    /srv/shop/tasks.py:40 in load",
        f"    [5] {ids[5]}",
    ]


def test_a_group_without_failures_says_so(memory):
    fed = Fed(memory)
    fed.grow(2)
    fed.store(0, 1)
    fed.seal()
    failures = fed.result.failures()
    assert (len(failures), failures.total, bool(failures)) == (0, 0, False)
    assert str(failures) == f"0 of 2 members of group {fed.result.id} failed"


@pytest.mark.parametrize(
    "record",
    [
        b"\x80\x04 not json",
        b"{",
        b"[]",
        b'{"status": "FAILURE", "result": 5, "traceback": 7}',
        b'{"status": "FAILURE", "result": {"exc_type": [], "exc_message": {}}}',
        b'{"status": "FAILURE", "result": {"exc_type": "A"}, "traceback": "File \\""}',
    ],
)
def test_a_hostile_record_is_a_failure_like_others(fake, record):
    fake.supports_handles = True
    result = group_of(2, fake)
    fake.records[result[1].id] = record
    failures = result.failures()
    assert failures.total <= 1
    assert str(failures)
    until(lambda: result.wait(WAIT, count=1) == 1 or not failures.total)


def test_misuse_of_the_counter_is_an_error():
    counter = Counter()
    with pytest.raises(ValueError, match="2 indices for 1 payloads"):
        counter.read([0, 1], [b"{}"])
    assert counter.read([0, 1, 2], [None, "text", b"{}"]) == [1, 2]
    assert counter.ranked() == []


def test_what_a_wait_has_raised_is_no_other_way_to_fail(fake):
    fake.supports_handles = True
    fake.expires = 5
    result = group_of(5, fake, sent_at=time.time() - 10)
    with pytest.raises(ResultExpired):
        result.get(timeout=WAIT)
    failures = result.failures()
    assert [(one.exc_type, one.count, one.frame) for one in failures] == [
        ("celerant.errors.ResultExpired", 5, None)
    ]
    assert "1 way>" in repr(failures)
