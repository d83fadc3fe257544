from __future__ import annotations

import sys
import types

import pytest

from celerant.errors import MaxRetriesExceeded, TaskError, TaskRevoked
from celerant.results.tracking.exceptions import add_note, rebuild


class PaymentRefusedError(Exception):
    pass


class Shop:
    class ClosedError(Exception):
        pass


class PickyError(Exception):
    def __init__(self, code, *, reason):
        super().__init__(code)
        self.reason = reason


def stored(exc_type, *args, module="builtins", traceback=None):
    fields = {"exc_type": exc_type, "exc_message": list(args), "exc_module": module}
    return {"result": fields, "traceback": traceback}


def test_builtin_exceptions_come_back_as_themselves():
    made = rebuild(stored("KeyError", "a", 1))
    assert type(made) is KeyError
    assert made.args == ("a", 1)


def test_an_imported_class_comes_back_also_when_nested():
    made = rebuild(stored("PaymentRefusedError", "card", module=__name__))
    assert type(made) is PaymentRefusedError
    nested = rebuild(stored("Shop.ClosedError", module=__name__))
    assert type(nested) is Shop.ClosedError


@pytest.mark.parametrize("by_hand", [{"reason": "no money"}, {"code": 3}, "no", 7, [1]])
def test_a_failure_stored_by_hand_is_a_task_error_with_its_text(by_hand):
    made = rebuild({"result": by_hand, "traceback": None})
    assert isinstance(made, TaskError)
    told = by_hand if isinstance(by_hand, dict) else str(by_hand).strip("[]")
    assert str(told) in str(made)


def test_an_exception_class_is_never_imported():
    assert "colorsys" not in sys.modules or sys.modules.pop("colorsys")
    made = rebuild(stored("Error", "x", module="colorsys"))
    assert isinstance(made, TaskError)
    assert (made.exc_type, made.exc_module) == ("Error", "colorsys")
    assert str(made) == "Error('x')"
    assert "colorsys" not in sys.modules


def test_a_module_s_own_getattr_is_not_run(monkeypatch):
    module = types.ModuleType("hooked")
    called = []
    module.__getattr__ = called.append
    monkeypatch.setitem(sys.modules, "hooked", module)
    assert isinstance(rebuild(stored("Anything", module="hooked")), TaskError)
    assert called == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "int"),
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "Exception.__class__"),
        ("nowhere", "Error"),
        (None, "Error"),
        (7, "Error"),
    ],
)
def test_an_exception_without_an_imported_class_is_a_task_error(module, name):
    made = rebuild(stored(name, "touch /tmp/x", module=module))
    assert type(made) is TaskError
    assert made.exc_type == name


def test_a_constructor_that_refuses_gives_a_task_error():
    made = rebuild(stored("PickyError", 7, module=__name__))
    assert type(made) is TaskError
    assert made.exc_type == "PickyError"


def test_the_remote_traceback_is_the_cause():
    made = rebuild(stored("KeyError", "a", traceback="Traceback ...\nKeyError: 'a'\n"))
    assert "KeyError: 'a'" in str(made.__cause__)
    gone = rebuild(stored("Nope", traceback="remote text"))
    assert gone.remote_traceback == "remote text"


def test_celery_s_own_errors_have_counterparts():
    retries = stored("MaxRetriesExceededError", "m", module="celery.exceptions")
    assert type(rebuild(retries)) is MaxRetriesExceeded
    revoked = stored("TaskRevokedError", "terminated", module="celery.exceptions")
    made = rebuild(revoked, is_revoked=True)
    assert type(made) is TaskRevoked
    assert str(made) == "terminated"


@pytest.mark.parametrize("result", [None, "text", 7, [], {}, {"exc_type": None}])
def test_a_record_of_another_shape_is_still_an_exception(result):
    assert isinstance(rebuild({"result": result, "traceback": 5}), TaskError)


def test_an_exception_that_ends_threads_when_looked_at_gets_no_note():
    class ExitError(Exception):
        def __getattribute__(self, name):
            raise SystemExit(name)

    add_note(ExitError(), "raised by task 7")
