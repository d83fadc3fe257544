from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from celerant.context.request import Request
from celerant.errors import ResultTimeout, SettingError, TaskRevoked
from celerant.results.async_result import AsyncResult
from celerant.results.backends import open_backend
from celerant.results.backends.disabled import DisabledBackend


def test_a_value_is_waited_for(memory):
    result = AsyncResult("a", memory)
    assert not result.ready()
    assert result.state == "PENDING"
    assert result.result is None
    memory.store_result("a", {"x": 1}, "SUCCESS")
    assert result.get(timeout=5) == {"x": 1}
    assert (result.state, result.status) == ("SUCCESS", "SUCCESS")
    assert result.result == result.info == {"x": 1}
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert result.traceback is None


def test_a_failure_is_raised_with_its_remote_traceback(memory):
    memory.store_result("a", KeyError("k"), "FAILURE", "remote tb")
    result = AsyncResult("a", memory)
    with pytest.raises(KeyError) as caught:
        result.get(timeout=5)
    assert "remote tb" in str(caught.value.__cause__)
    assert result.traceback == "remote tb"
    assert result.failed()
    assert result.get(timeout=5, propagate=False) is caught.value


def test_a_revoked_task_raises_task_revoked(memory):
    memory.store_result("a", TaskRevoked("terminated"), "REVOKED")
    result = AsyncResult("a", memory)
    with pytest.raises(TaskRevoked, match="terminated"):
        result.get(timeout=5)
    assert result.state == "REVOKED"
    assert not result.failed()


@pytest.fixture(params=["json", "pickle"])
def extended(request):
    """A store of this serializer, whose records tell of the task."""
    backend = open_backend(
        "memory://",
        name=f"extended-{request.param}",
        extended=True,
        serializer=request.param,
        accept=["json", "pickle"],
    )
    yield backend
    backend.close()


def test_a_task_that_is_retried_tells_the_reason(extended):
    extended.store_result("a", KeyError("once more"), "RETRY", "remote tb")
    result = AsyncResult("a", extended)
    assert result.state == "RETRY"
    assert repr(result.result) == repr(result.info) == "KeyError('once more')"
    assert result.traceback == "remote tb"
    assert not result.ready()
    # It is no failure yet.
    assert repr(result.maybe_throw()) == "KeyError('once more')"
    with pytest.raises(RuntimeError, match="has raised nothing"):
        result.throw()
    extended.store_result("a", 3, "SUCCESS")
    assert (result.get(timeout=5), result.traceback) == (3, None)


def test_an_exception_that_was_returned_is_no_failure():
    backend = open_backend(
        "memory://", name="returned", serializer="pickle", accept=["pickle"]
    )
    backend.store_result("a", ValueError("returned"), "SUCCESS")
    result, called = AsyncResult("a", backend), []
    for look in (result.get, result.maybe_throw, result.maybe_reraise):
        assert repr(look()) == "ValueError('returned')"
    result.maybe_throw(callback=lambda *told: called.append(told))
    assert repr(called) == "[('a', ValueError('returned'))]"
    with pytest.raises(RuntimeError, match="has raised nothing"):
        result.throw()
    backend.close()


@pytest.mark.parametrize(
    ("exc", "state"), [(KeyError("k"), "FAILURE"), (TaskRevoked("k"), "REVOKED")]
)
def test_a_failure_is_thrown(memory, exc, state):
    memory.store_result("a", exc, state)
    result = AsyncResult("a", memory)
    for throw in (result.maybe_throw, result.throw):
        with pytest.raises(type(exc), match="k"):
            throw()
    assert isinstance(result.maybe_throw(propagate=False), type(exc))
    with pytest.raises(ZeroDivisionError):
        result.throw(ZeroDivisionError())


@pytest.mark.parametrize("stored", [None, {"mine": 1}, "text"])
def test_data_that_is_no_exception_stays_data(memory, stored):
    memory.store_result("a", stored, "RETRY")
    result = AsyncResult("a", memory)
    assert (result.state, result.info, result.traceback) == ("RETRY", stored, None)


def test_records_that_are_listened_to_have_exceptions(extended):
    extended.store_result("a", KeyError("once more"), "RETRY")
    result, heard = AsyncResult("a", extended), []

    def hear(meta):
        heard.append((meta["status"], repr(meta["result"])))
        extended.store_result("a", ValueError("over"), "FAILURE")

    with pytest.raises(ValueError, match="over"):
        result.get(timeout=5, on_message=hear)
    assert heard[0] == ("RETRY", "KeyError('once more')")
    assert set(heard[1:]) <= {("FAILURE", "ValueError('over')")}


def test_arguments_of_a_record_may_be_a_tuple(extended):
    request = Request("a", "shop.add", args=(1, (2, 3)), kwargs={"y": 2})
    request.children.append(AsyncResult("b", extended).as_tuple())
    extended.store_result("a", 3, "SUCCESS", request=request)
    result = AsyncResult("a", extended)
    is_pickle = extended.codec.serializer == "pickle"
    assert result.args == ((1, (2, 3)) if is_pickle else [1, [2, 3]])
    assert result.kwargs == {"y": 2}
    assert [child.id for child in result.children] == ["b"]


def test_progress_of_a_running_task_is_seen(memory):
    memory.store_result("a", {"done": 3}, "PROGRESS")
    result = AsyncResult("a", memory)
    assert result.state == "PROGRESS"
    assert result.info == {"done": 3}
    assert not result.ready()
    with pytest.raises(ResultTimeout) as caught:
        result.get(timeout=0)
    assert caught.value.remaining == 1


def test_extended_records_tell_of_the_task():
    backend = open_backend("memory://", name="extended", extended=True)
    request = Request(
        id="a",
        task="shop.add",
        args=[1],
        kwargs={"y": 2},
        hostname="w",
        retries=1,
        delivery_info={"routing_key": "q"},
    )
    backend.store_result("a", 3, "SUCCESS", request=request)
    result = AsyncResult("a", backend)
    assert (result.name, result.args, result.kwargs) == ("shop.add", [1], {"y": 2})
    assert (result.worker, result.retries, result.queue) == ("w", 1, "q")
    assert isinstance(result.date_done, datetime)
    assert result.date_done.utcoffset() == timedelta(0)
    backend.close()


def test_then_of_one_member_does_not_wait_for_the_others(memory, group_of):
    group = group_of(2, memory)
    done = threading.Event()
    group[1].then(lambda result: result.get(timeout=0) == 5 and done.set())
    memory.store_result(group[1].id, 5, "SUCCESS")
    assert done.wait(5)
    assert not group.ready()


def test_forget_deletes_the_record(memory):
    memory.store_result("a", 1, "SUCCESS")
    AsyncResult("a", memory).forget()
    assert memory.fetch(["a"]) == [None]


def test_identity_is_the_id(memory):
    result = AsyncResult("a", memory)
    assert result == AsyncResult("a", memory) == "a"
    assert result != AsyncResult("b", memory)
    assert hash(result) == hash("a")
    assert str(result) == "a"
    assert repr(result) == "<AsyncResult: a>"
    assert result.as_tuple() == (("a", None), None)
    assert AsyncResult("b", memory, parent=result).as_tuple() == (
        ("b", (("a", None), None)),
        None,
    )


def test_a_result_without_a_backend_names_the_setting():
    with pytest.raises(SettingError):
        AsyncResult("a", DisabledBackend("disabled://")).get(timeout=1)
