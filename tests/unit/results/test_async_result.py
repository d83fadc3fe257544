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
