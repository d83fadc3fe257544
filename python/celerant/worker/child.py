"""Functions that run inside a spawned child process of the pool."""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.util
import os
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from celerant.common.foreign import said, stored_as, traceback_text
from celerant.common.receivers import tell
from celerant.running.logged import logged
from celerant.running.softlimit import Limited, listen
from celerant.running.storing import Storing
from celerant.running.succession import pack_successors
from celerant.running.telling import end, is_told
from celerant.running.trace import FAILURE, STARTED, SUCCESS, failure, run_task
from celerant.worker.changes import changes_since, followers_of
from celerant.worker.jobs import Terms, unpack_request
from celerant.worker.outcomes import Packed, checked, pack, pack_unused, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.context.request import Request
    from celerant.running.trace import Outcome

__all__ = ["Checked", "check", "prepare", "run", "run_job"]

_tasks: dict[bytes, Any] = {}
_failed_imports: dict[str, str] = {}


class Checked(NamedTuple):
    """A child's answer to the check before its first task."""

    pid: int
    #: The reasons why tasks cannot run there, by the tasks' names.
    missing: dict[str, str]


def prepare(modules: Sequence[str], set_up: Sequence[Callable[[], Any]] = ()) -> None:
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
    for step in set_up:
        try:
            step()
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
    reference: bytes, packed_request: tuple[str, str, dict[str, Any]], *terms: Any
) -> Packed:
    """Run a task and return its packed outcome.

    Args:
        reference: The task, pickled.
        packed_request: The task's request, as `jobs.pack_job` packs it.
        terms: The fields of `jobs.Terms`.
    """
    task, request, under = (
        _find(reference),
        unpack_request(packed_request),
        Terms(*terms),
    )
    before = followers_of(request)
    if under.stores_started:
        _store_started(task, request)
    outcome = run_task(task, request, Limited(task, under.soft_limit))
    successors, outcome = pack_successors(request, outcome)
    try:
        changes = changes_since(before, request)
    except BaseException as exc:  # noqa: BLE001 - reducers raise what they like
        changes, outcome = None, failure(exc, outcome.runtime)
    packed, told = _packed(task, request, outcome, under)
    if is_told(task):
        # Receivers are told here, because the task's own state is in this process.
        with logged("telling of", request):
            end(task, request, told)
    return packed._replace(
        successors=successors, children=tuple(request.children), changes=changes
    )


def _store_started(task: Any, request: Request) -> None:
    # Here, so that it comes before the states that the task itself stores.
    with logged("storing the start of", request):
        about = {"pid": os.getpid(), "hostname": request.hostname}
        Storing(task.app.backend)(request, about, STARTED)


def _packed(
    task: Any, request: Request, outcome: Outcome, under: Terms
) -> tuple[Packed, Outcome]:
    """Return an outcome as it travels, and as hooks and receivers are told of it."""
    serializer = under.serializer
    is_kept = request.chord or not request.ignore_result
    is_sent = request.callbacks or request.chain
    if outcome.state == SUCCESS:
        if not (is_kept or is_sent):
            return pack_unused(outcome, is_shown=under.shows_value), outcome
        if is_kept and is_sent and is_told(task):
            # Told is what is stored later, as far as that is known here.
            outcome = checked(outcome, serializer)
    packed = pack(outcome, serializer, request)
    if outcome.state == packed.state:
        return packed, outcome
    return packed, unpack(packed)


def _find(reference: bytes) -> Any:
    task = _tasks.get(reference)
    if task is None:
        # A task travels as the name of its app and its own name.
        task = pickle.loads(reference)  # noqa: S301 - made by our own parent
        _tasks[reference] = task
    return task
