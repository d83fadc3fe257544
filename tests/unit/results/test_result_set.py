"""Results that were sent one by one, and groups, awaited together."""

from __future__ import annotations

import threading
import uuid

import celery.result
import pytest

import celerant
from celerant import AsyncResult, Celerant, GroupResult, ResultSet, ResultTimeout, group


@pytest.fixture
def app():
    with Celerant(f"celerant-{uuid.uuid4().hex[:8]}") as made:
        yield made


@pytest.fixture
def tasks(app):
    @app.task(name="rs.double")
    def double(x):
        return 2 * x

    @app.task(name="rs.fail")
    def fail(text):
        raise ValueError(text)

    with app.worker(concurrency=2):
        yield {"double": double, "fail": fail}


def test_values_come_in_the_order_of_the_set(tasks):
    double = tasks["double"]
    members = group(double.s(i) for i in range(3))()
    mixed = ResultSet([double.delay(5), members, *members, double.delay(6)])

    assert mixed.get(timeout=20) == [10, [0, 2, 4], 0, 2, 4, 12]
    assert mixed.join(timeout=20) == mixed.join_native(timeout=20) == mixed.get()
    assert mixed.ready()
    assert mixed.successful()
    assert not mixed.waiting()
    assert not mixed.failed()
    assert mixed.completed_count() == 6


def test_the_same_result_twice_is_awaited_once_and_given_twice(tasks):
    one = tasks["double"].delay(4)
    assert ResultSet([one, AsyncResult(one.id), one]).get(timeout=20) == [8, 8, 8]


def test_an_empty_set_is_done(app):
    empty = ResultSet([], app=app)
    assert empty.get(timeout=0) == []
    assert empty.ready()
    assert empty.successful()
    assert not empty
    assert empty.app is app
    empty.revoke()


def test_a_failure_is_raised_or_put_in_its_place(tasks):
    found = ResultSet([tasks["double"].delay(1), tasks["fail"].delay("no")])
    with pytest.raises(ValueError, match="no"):
        found.get(timeout=20)
    value, error = found.get(timeout=20, propagate=False)
    assert (value, str(error)) == (2, "no")
    with pytest.raises(ValueError, match="no"):
        found.maybe_throw()
    found.maybe_throw(propagate=False)
    assert found.failed()
    assert not found.successful()
    assert found.completed_count() == 1


def test_a_failure_is_raised_before_the_others_are_done(app):
    with app.worker(concurrency=1):

        @app.task
        def fail():
            raise ValueError("no")

        found = ResultSet([AsyncResult("never-sent", app=app), fail.delay()])
        with pytest.raises(ValueError, match="no"):
            found.get(timeout=20)


def test_a_set_that_is_not_done_in_time_says_how_many_are_missing(app):
    found = ResultSet([AsyncResult(f"never-{i}", app=app) for i in range(3)])
    with app.worker(concurrency=1):
        for timeout in (0, 0.05):
            with pytest.raises(ResultTimeout, match="3 of 3") as caught:
                found.get(timeout=timeout)
            assert caught.value.remaining == 3


def test_callbacks_get_each_value_as_it_arrives(app):
    gates = [threading.Event() for _ in range(3)]
    with app.worker(concurrency=3):

        @app.task
        def wait_for(i):
            assert gates[i].wait(20)
            return i

        results = [wait_for.delay(i) for i in range(3)]
        order = iter([2, 0, 1])
        gates[next(order)].set()
        seen = []

        def callback(task_id, value):
            seen.append((task_id, value))
            following = next(order, None)
            if following is not None:
                gates[following].set()

        assert ResultSet(results).get(timeout=20, callback=callback) is None
    assert seen == [(results[i].id, i) for i in (2, 0, 1)]


@pytest.mark.parametrize("kind", ["set", "group"])
def test_members_are_told_as_they_arrive(tasks, kind):
    double = tasks["double"]
    members = group(double.s(i) for i in range(50))()
    found = members if kind == "group" else ResultSet([*members])
    told = dict(found.iter_native(timeout=20))
    assert told.keys() == {member.id for member in members}
    assert [told[member.id]["result"] for member in members] == list(range(0, 100, 2))
    assert {fields["status"] for fields in told.values()} == {"SUCCESS"}
    seen = []
    assert members.get(callback=lambda *pair: seen.append(pair)) is None
    assert dict(seen) == {member.id: 2 * i for i, member in enumerate(members)}


def test_a_group_among_a_groups_members_is_told_as_its_results(tasks):
    double = tasks["double"]
    result = group(double.s(1) | group(double.s(), double.s()), double.s(3))()
    told = dict(result.iter_native(timeout=20))
    inner = told[result[0].id]
    assert [member.get(timeout=5) for member in inner] == [4, 4]
    seen = {}
    result.get(callback=seen.__setitem__)
    assert list(seen.values()) == [[4, 4], 6]


@pytest.mark.parametrize("kind", ["one", "chain", "set", "group"])
def test_intervals_are_told_while_it_waits(app, kind):
    gate, calls = threading.Event(), []

    def on_interval():
        calls.append(threading.current_thread())
        if len(calls) == 3:
            gate.set()

    with app.worker(concurrency=1):

        @app.task
        def wait(*_):
            return gate.wait(20)

        @app.task
        def echo(x):
            return x

        sent = {
            "one": wait.delay,
            "chain": (wait.s() | echo.s()).delay,
            "set": lambda: ResultSet([wait.delay()]),
            "group": group([wait.s()]).delay,
        }[kind]()
        value = sent.get(timeout=20, on_interval=on_interval, interval=0.01)
    assert value in (True, [True])
    assert len(calls) >= 3
    assert set(calls) == {threading.current_thread()}


def test_a_chain_that_fails_above_raises_although_it_is_listened_to(tasks):
    sent = (tasks["fail"].s("no") | tasks["double"].s()).delay()
    with pytest.raises(ValueError, match="no"):
        sent.get(timeout=20, on_interval=lambda: None, on_message=lambda _: None)


def test_sets_change_as_celerys(app):
    stock = celery.Celery("rs", broker="memory://", set_as_current=False)
    try:
        for library, owner in ((celery.result, stock), (celerant, app)):
            a, b, c = (library.AsyncResult(name, app=owner) for name in "abc")
            given = [a]
            found = library.ResultSet(given, app=owner)
            found.add(b)
            found.add(library.AsyncResult("b", app=owner))
            assert found.results is given
            assert [result.id for result in given] == ["a", "b"]
            found.update([b, c])
            assert list(found) == [a, b, c]
            assert (found[1], len(found)) == (b, 3)
            found.remove("a")
            found.discard("a")
            found.discard(c)
            with pytest.raises(KeyError):
                found.remove(a)
            assert given == [b]
            assert found == library.ResultSet([b], app=owner)
            assert "b" in repr(found)
            found.clear()
            assert given == []
    finally:
        stock.close()


def test_a_groups_members_stay_those_that_were_sent(tasks):
    double = tasks["double"]
    sent = group([double.s(1), double.s(2)])()
    assert isinstance(sent, GroupResult)
    assert isinstance(sent, ResultSet)
    for change in (sent.add, sent.remove, sent.discard, lambda r: sent.update([r])):
        with pytest.raises(TypeError, match="ResultSet"):
            change(sent[0])
    with pytest.raises(TypeError, match="ResultSet"):
        sent.clear()
    assert sent.get(timeout=20) == [2, 4]


def test_then_calls_once_all_are_done(tasks):
    double, fail = tasks["double"], tasks["fail"]
    called, done = [], threading.Event()

    def callback(found):
        called.append(found)
        done.set()

    found = ResultSet([double.delay(1), double.delay(2)])
    found.then(callback)
    assert done.wait(20)
    failing, failed = ResultSet([double.delay(1), fail.delay("no")]), threading.Event()
    failing.then(callback, on_error=lambda _: failed.set())
    assert failed.wait(20)
    assert called == [found]


def test_results_are_found_by_their_ids(app, tasks):
    double = tasks["double"]
    sent = double.delay(3)
    sent.get(timeout=20)
    for found in (
        AsyncResult(sent.id),
        AsyncResult(sent.id, app=app),
        AsyncResult(sent.id, app.backend),
        app.AsyncResult(sent.id),
        double.AsyncResult(sent.id),
        double.s().AsyncResult(sent.id),
    ):
        assert found.get(timeout=20) == 6
        assert found.app is app
        assert found.parent is None
    with pytest.raises(ValueError, match="id"):
        AsyncResult(None, app=app)


def test_a_result_says_whether_anything_is_stored(tasks):
    sent = tasks["double"].delay(3)
    sent.get(timeout=20)
    assert sent.exists()
    sent.forget()
    assert not sent.exists()
    assert not AsyncResult("never-sent").exists()


def test_a_result_raises_the_exception_of_its_task(tasks):
    done, failed = tasks["double"].delay(3), tasks["fail"].delay("no")
    done.get(timeout=20)
    failed.get(timeout=20, propagate=False)
    seen = []
    assert done.maybe_throw(callback=lambda *pair: seen.append(pair)) == 6
    assert seen == [(done.id, 6)]
    assert str(failed.maybe_throw(propagate=False)) == "no"
    for raising in (failed.maybe_throw, failed.maybe_reraise, failed.throw):
        with pytest.raises(ValueError, match="no"):
            raising()
    with pytest.raises(KeyError):
        done.throw(KeyError("own"))
    with pytest.raises(RuntimeError, match="raised nothing"):
        done.throw()


def test_get_calls_back_with_the_id_and_the_value(tasks):
    sent, failed = tasks["double"].delay(3), tasks["fail"].delay("no")
    seen = []
    assert sent.get(timeout=20, callback=lambda *pair: seen.append(pair)) == 6
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=20, callback=lambda *pair: seen.append(pair))
    assert seen == [(sent.id, 6)]
    failed.get(propagate=False, callback=lambda task_id, _: seen.append(task_id))
    assert seen[1:] == [failed.id]
