from __future__ import annotations

import asyncio

import pytest

from celerant import Celerant
from celerant.context.request import Request, current_request
from celerant.running.trace import run_task
from harness import hostile


class HostileError(Exception):
    def __str__(self):
        raise RuntimeError("no text for you")


def test_value_and_state_of_a_task_that_returns():
    outcome = run_task(lambda x, y: x + y, Request("i", "add", (1,), {"y": 2}))
    assert (outcome.state, outcome.value, outcome.exception) == ("SUCCESS", 3, None)
    assert outcome.result == 3


def test_exception_is_the_outcome_and_its_traceback_begins_in_the_task():
    def burst():
        raise KeyError("missing")

    outcome = run_task(burst, Request("i", "burst"))
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, KeyError)
    assert "in burst" in outcome.traceback
    assert "in run_task" not in outcome.traceback


@pytest.mark.parametrize(
    "kind", [SystemExit, KeyboardInterrupt, MemoryError, HostileError]
)
def test_exceptions_of_a_task_do_not_leave_run_task(kind):
    def leave():
        raise kind

    outcome = run_task(leave, Request("i", "leave"))
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.exception, kind)
    assert "in leave" in outcome.traceback


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_eager_tasks_let_the_caller_be_interrupted(kind):
    def leave():
        raise kind

    with pytest.raises(kind):
        run_task(leave, Request("i", "leave", is_eager=True))
    assert current_request.get() is None


def test_request_is_current_during_the_call_only():
    request = Request("i", "look")
    outer = Request("o", "outer")
    token = current_request.set(outer)
    try:
        outcome = run_task(current_request.get, request)
        assert outcome.value is request
        assert current_request.get() is outer
    finally:
        current_request.reset(token)


def test_wrong_arguments_are_a_failure():
    outcome = run_task(lambda: None, Request("i", "f", (1,)))
    assert isinstance(outcome.exception, TypeError)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, BaseException])
def test_a_base_exception_is_a_failure_too(kind):
    def body():
        raise kind

    with Celerant("celerant-test-trace") as app:
        task = app.task(body)
        outcome = run_task(task, Request("1", task.name))
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.exception, kind)


@pytest.mark.parametrize("name", sorted(hostile.EXCEPTIONS))
def test_any_exception_is_an_outcome(name):
    raised = hostile.EXCEPTIONS[name]()

    def burst():
        raise raised

    outcome = run_task(burst, Request("i", "burst"))
    assert outcome.result is (raised if outcome.state != "RETRY" else raised.exc)
    assert "in burst" in outcome.traceback


@pytest.mark.parametrize("method", [*hostile.METHODS, *hostile.ATTRIBUTES])
def test_an_exception_whose_own_code_raises_is_an_outcome(method):
    raised = hostile.exception([method], "SystemExit", "array")

    def burst():
        raise raised

    outcome = run_task(burst, Request("i", "burst"))
    assert (outcome.state, outcome.exception) == ("FAILURE", raised)
    assert "in burst" in outcome.traceback
    assert "in run_task" not in outcome.traceback
