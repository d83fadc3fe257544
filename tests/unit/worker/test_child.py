"""Values of tasks as a child process of the pool returns them."""

from __future__ import annotations

import celery
import pytest

from celerant import AsyncResult
from celerant.results.backends import open_backend
from celerant.running.trace import SUCCESS, Outcome
from celerant.worker.outcomes import pack, unpack


def results():
    ours = AsyncResult("a", open_backend("memory://", name="forms"))
    theirs = celery.Celery(set_as_current=False).AsyncResult("a")
    return [ours, theirs]


@pytest.mark.parametrize("result", results(), ids=["ours", "celerys"])
def test_result_that_a_task_returns_is_packed_as_its_form(result):
    packed = pack(Outcome(SUCCESS, result), "json")
    assert unpack(packed).value == [["a", None], None]


def test_value_that_no_serializer_takes_is_the_tasks_failure():
    packed = pack(Outcome(SUCCESS, object()), "json")
    assert packed.state == "FAILURE"
    assert "return plain data or set result_serializer" in packed.exception[2][0]
