"""What runs inside a spawned child process of the pool.

The child serialises what a task returns, so that a value that nothing takes is the
task's failure and never breaks the pool.
"""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.util
import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.serialization import dumps, loads

from celerant.common.foreign import (
    args_of,
    class_name,
    is_a,
    said,
    stored_as,
    traceback_text,
)
from celerant.common.printable import shown
from celerant.common.receivers import tell
from celerant.common.stock_errors import encode_error, named_exception
from celerant.common.with_form import plain_value
from celerant.errors import TaskControl
from celerant.running.logged import logged
from celerant.running.softlimit import Limited, listen
from celerant.running.succession import pack_successors
from celerant.running.telling import end, is_told
from celerant.running.trace import FAILURE, SUCCESS, Outcome, run_task
from celerant.tasks import control_flow
from celerant.worker.jobs import unpack_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Checked",
    "Packed",
    "check",
    "pack",
    "prepare",
    "run",
    "run_job",
    "unpack",
]

_tasks: dict[bytes, Any] = {}
_failed_imports: dict[str, str] = {}


class Packed(NamedTuple):
    """An outcome that any pipe carries."""

    state: str
    #: (content type, content encoding, body) of the value; None without one.
    value: tuple[str, str, Any] | None
    #: (class, module, arguments) of the exception; None without one.
    exception: tuple[str, str, tuple[Any, ...]] | None
    traceback: str | None
    runtime: float
    #: A Retry, Ignore or Reject; None where the task raised none.
    control: tuple[Any, ...] | None = None
    #: What the task asks the parent to send in its place, pickled.
    successors: bytes | None = None
    #: Results of what the task sent.
    children: tuple[Any, ...] = ()


class Checked(NamedTuple):
    """What a child says of itself before its first task."""

    pid: int
    #: Why a task cannot run there, by name.
    missing: dict[str, str]


def prepare(modules: Sequence[str], set_up: Callable[[], None] | None = None) -> None:
    """Make this child ready: import the tasks' modules, die with the parent.

    Args:
        modules: What to import.
        set_up: Called first; gets ready what the modules need.
    """
    # Ctrl-C goes to the whole terminal group; when to stop is the parent's matter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen()
    parent = multiprocessing.parent_process()
    if parent is not None:
        watch = threading.Thread(target=_follow, args=(parent,), daemon=True)
        watch.start()
    if set_up is not None:
        try:
            set_up()
        except BaseException as exc:  # noqa: BLE001 - told as below
            _failed_imports["the app"] = f"{type(exc).__name__}: {exc}"
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as exc:  # noqa: BLE001 - told by `check`, with the tasks it costs
            _failed_imports[module] = f"{type(exc).__name__}: {exc}"
    tell("worker_process_init", None)
    multiprocessing.util.Finalize(None, _tell_end, exitpriority=10)


def _tell_end() -> None:
    tell("worker_process_shutdown", None, pid=os.getpid(), exitcode=0)


def _follow(parent: Any) -> None:
    # A killed parent closes no queue that we also hold: we would wait for ever.
    parent.join()
    os._exit(1)


def check(references: dict[str, bytes]) -> Checked:
    """Say which of the tasks this child cannot find, and why."""
    missing = {}
    for name, reference in references.items():
        try:
            _find(reference)
        except BaseException as exc:  # noqa: BLE001 - any reason is told
            missing[name] = "; ".join(
                [f"{type(exc).__name__}: {exc}"]
                + [f"import of {m} failed: {e}" for m, e in _failed_imports.items()]
            )
    return Checked(os.getpid(), missing)


def run(job: bytes) -> bytes:
    """Call a function and return what it returns, pickled; never raises.

    Args:
        job: The function and its arguments, pickled.
    """
    try:
        function, args = pickle.loads(job)  # noqa: S301 - made by our own parent
        return pickle.dumps(function(*args))
    except BaseException as exc:  # noqa: BLE001 - the parent needs the reason, not a crash
        raised = *stored_as(type(exc)), (said(exc),)
        return pickle.dumps(Packed(FAILURE, None, raised, traceback_text(exc), 0.0))


def run_job(
    reference: bytes,
    packed_request: tuple[str, str, dict[str, Any]],
    serializer: str,
    soft_limit: float | None = None,
) -> Packed:
    """Run the task that `reference` names and pack what came of it.

    Args:
        reference: The task, pickled.
        packed_request: Of `jobs.pack_job`.
        serializer: What encodes the value.
        soft_limit: Seconds until it gets a SoftTimeLimitExceeded.
    """
    task, request = _find(reference), unpack_request(packed_request)
    outcome = run_task(task, request, Limited(task, soft_limit))
    if request.ignore_result and not (
        request.callbacks or request.chain or request.chord
    ):
        outcome.value = None
    successors, outcome = pack_successors(request, outcome)
    packed = pack(outcome, serializer)
    if is_told(task):
        # Here, for what the task has left for its hooks is here.
        with logged("telling of", request):
            end(
                task,
                request,
                outcome if outcome.state == packed.state else unpack(packed),
            )
    return packed._replace(successors=successors, children=tuple(request.children))


def _find(reference: bytes) -> Any:
    task = _tasks.get(reference)
    if task is None:
        # Made by our own parent; a task travels as its app's and its own name.
        task = pickle.loads(reference)  # noqa: S301 - made by our own parent
        _tasks[reference] = task
    return task


def pack(outcome: Outcome, serializer: str) -> Packed:
    """Turn an outcome into plain data; a value that cannot be one is a failure."""
    if outcome.state == SUCCESS:
        try:
            value = dumps(plain_value(outcome.value, serializer), serializer)
            body = value[2]
            plain = body if isinstance(body, (str, bytes)) else bytes(body)
        except BaseException as exc:  # noqa: BLE001 - the value's own code may raise it
            outcome = Outcome(
                FAILURE,
                exception=encode_error(unserialisable(outcome.value, serializer, exc)),
                runtime=outcome.runtime,
            )
        else:
            packed = (value[0], value[1], plain)
            return Packed(SUCCESS, packed, None, None, outcome.runtime)
    raised, control, named = outcome.exception, None, None
    if is_a(raised, TaskControl):
        control = control_flow.pack(raised, _portable, _exception)
    elif raised is not None:
        named = _exception(raised)
    return Packed(
        outcome.state, None, named, outcome.traceback, outcome.runtime, control
    )


def _exception(raised: BaseException) -> tuple[str, str, tuple[Any, ...]]:
    name, module = stored_as(type(raised))
    # A script's module is called differently in a spawned child.
    module = "__main__" if module == "__mp_main__" else module
    return name, module, tuple(map(_portable, args_of(raised)))


def unserialisable(value: Any, serializer: str, exc: BaseException) -> str:
    """Return the message for a return value that `serializer` does not take."""
    return (
        f"the task returned {shown(value)} of type {class_name(value)}, "
        f"which the serializer {serializer!r} does not take ({said(exc)}); return "
        f"plain data or set result_serializer"
    )


def _portable(value: Any) -> Any:
    # Plain data only: a class of the child may not exist in the parent.
    try:
        body = dumps(value, "json")
        return loads(body[2], body[0], body[1])
    except BaseException:  # noqa: BLE001 - the value's own code may raise it
        return shown(value)


def unpack(packed: Packed) -> Outcome:
    """Return the outcome that a child packed.

    An exception comes back as one of the same names and arguments, not of the same
    class: the stored record is the same, and no code of the task is needed.
    """
    if packed.state == SUCCESS and packed.value is not None:
        content_type, encoding, body = packed.value
        value = loads(body, content_type, encoding, force=True)
        return Outcome(SUCCESS, value, runtime=packed.runtime, is_told=True)
    if packed.control is not None:
        return Outcome(
            packed.state,
            exception=control_flow.unpack(packed.control),
            traceback=packed.traceback,
            runtime=packed.runtime,
            is_told=True,
        )
    name, module, args = packed.exception or ("Exception", "builtins", ())
    return Outcome(
        packed.state,
        exception=named_exception(name, module, *args),
        traceback=packed.traceback,
        runtime=packed.runtime,
        is_told=True,
    )
