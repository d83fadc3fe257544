"""Functions that run inside a spawned child process of the pool.

The child serialises the values that tasks return. So a value that cannot be serialised
fails its task and never breaks the pool.
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
    """An outcome as plain data, which travels by pickle."""

    state: str
    #: (content type, content encoding, body) of the value; None if there is none.
    value: tuple[str, str, Any] | None
    #: (class, module, arguments) of the exception; None if there is none.
    exception: tuple[str, str, tuple[Any, ...]] | None
    traceback: str | None
    runtime: float
    #: A packed Retry, Ignore or Reject; None if the task raised none.
    control: tuple[Any, ...] | None = None
    #: The canvases that the parent sends in the task's place, pickled.
    successors: bytes | None = None
    #: Results of the canvases that the task has sent.
    children: tuple[Any, ...] = ()


class Checked(NamedTuple):
    """A child's answer to the check before its first task."""

    pid: int
    #: The reasons why tasks cannot run there, by the tasks' names.
    missing: dict[str, str]


def prepare(modules: Sequence[str], set_up: Callable[[], None] | None = None) -> None:
    """Make this child ready: import the tasks' modules, and end with the parent.

    Args:
        modules: The modules to import.
        set_up: Called before the imports, to prepare what the modules need.
    """
    # Ctrl-C reaches all processes of a terminal; the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen()
    parent = multiprocessing.parent_process()
    if parent is not None:
        watch = threading.Thread(target=_follow, args=(parent,), daemon=True)
        watch.start()
    if set_up is not None:
        try:
            set_up()
        except BaseException as exc:  # noqa: BLE001 - `check` tells it
            _failed_imports["the app"] = f"{type(exc).__name__}: {exc}"
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as exc:  # noqa: BLE001 - `check` tells it, with the missing tasks
            _failed_imports[module] = f"{type(exc).__name__}: {exc}"
    tell("worker_process_init", None)
    multiprocessing.util.Finalize(None, _tell_end, exitpriority=10)


def _tell_end() -> None:
    tell("worker_process_shutdown", None, pid=os.getpid(), exitcode=0)


def _follow(parent: Any) -> None:
    # If the parent is killed, the sockets may stay open in another child, and this one
    # would wait for ever.
    parent.join()
    os._exit(1)


def check(references: dict[str, bytes]) -> Checked:
    """Return the tasks that this child cannot find, with the reasons."""
    missing = {}
    for name, reference in references.items():
        try:
            _find(reference)
        except BaseException as exc:  # noqa: BLE001 - the parent tells any reason
            missing[name] = "; ".join(
                [f"{type(exc).__name__}: {exc}"]
                + [f"import of {m} failed: {e}" for m, e in _failed_imports.items()]
            )
    return Checked(os.getpid(), missing)


def run(job: bytes) -> bytes:
    """Call a function and return its value, pickled; never raises.

    Args:
        job: The function and its arguments, pickled.
    """
    try:
        function, args = pickle.loads(job)  # noqa: S301 - made by our own parent
        return pickle.dumps(function(*args))
    except BaseException as exc:  # noqa: BLE001 - the parent needs the reason
        raised = *stored_as(type(exc)), (said(exc),)
        return pickle.dumps(Packed(FAILURE, None, raised, traceback_text(exc), 0.0))


def run_job(
    reference: bytes,
    packed_request: tuple[str, str, dict[str, Any]],
    serializer: str,
    soft_limit: float | None = None,
) -> Packed:
    """Run a task and return its packed outcome.

    Args:
        reference: The task, pickled.
        packed_request: The task's request, as `jobs.pack_job` packs it.
        serializer: Name of the serializer that encodes the value.
        soft_limit: Seconds after which the task gets a SoftTimeLimitExceeded; None is
            without limit.
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
        # Receivers are told here, because the task's own state is in this process.
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
        # A task travels as the name of its app and its own name.
        task = pickle.loads(reference)  # noqa: S301 - made by our own parent
        _tasks[reference] = task
    return task


def pack(outcome: Outcome, serializer: str) -> Packed:
    """Return an outcome as plain data; a value that cannot be encoded is a failure."""
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
    # A spawned child calls the script's module by another name.
    module = "__main__" if module == "__mp_main__" else module
    return name, module, tuple(map(_portable, args_of(raised)))


def unserialisable(value: Any, serializer: str, exc: BaseException) -> str:
    """Return the error text for a value that `serializer` does not take."""
    return (
        f"the task returned {shown(value)} of type {class_name(value)}, "
        f"which the serializer {serializer!r} does not take ({said(exc)}); return "
        f"plain data or set result_serializer"
    )


def _portable(value: Any) -> Any:
    # As plain data, because the parent may not have the child's classes.
    try:
        body = dumps(value, "json")
        return loads(body[2], body[0], body[1])
    except BaseException:  # noqa: BLE001 - the value's own code may raise it
        return shown(value)


def unpack(packed: Packed) -> Outcome:
    """Return the outcome that a child packed.

    An exception comes back with the same name and arguments, but not as the same class.
    The stored record is the same, and the parent needs none of the task's modules.
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
