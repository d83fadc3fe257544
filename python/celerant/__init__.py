"""Sends groups of Celery tasks as one volley.

Names are loaded when they are used first. `README.md` shows how to begin;
``celerant.errors`` draws the tree of exceptions.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

import celerant.patching  # noqa: F401 - before any module that uses sockets

# isort: split
from celerant import _core
from celerant.common.printable import keep_logs_plain

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.app.current import current_app, current_task
    from celerant.canvas.chain import chain
    from celerant.canvas.chord import chord
    from celerant.canvas.data import maybe_signature
    from celerant.canvas.group import group
    from celerant.canvas.mapping import chunks, xmap, xstarmap
    from celerant.canvas.signature import Signature, signature
    from celerant.canvas.signature import signature as subtask
    from celerant.canvas.stamping import StampingVisitor
    from celerant.errors import (
        ArgumentError,
        BarrierError,
        CanvasError,
        CelerantError,
        ChordError,
        EncodeError,
        ForkError,
        HandleError,
        Ignore,
        IncompleteStream,
        JournalError,
        MaxRetriesExceeded,
        MaxRetriesExceededError,
        NotSent,
        PublishError,
        Reject,
        ResultExpired,
        ResultTimeout,
        Retry,
        SettingError,
        SoftTimeLimitExceeded,
        TaskError,
        TaskRevoked,
    )
    from celerant.errors.report import Report
    from celerant.results.async_result import AsyncResult
    from celerant.results.cancelling import Cancelled
    from celerant.results.failures import Failures
    from celerant.results.group_result import GroupResult
    from celerant.results.progress import Progress
    from celerant.results.result_set import ResultSet
    from celerant.results.tracking.waiting import allow_join_result
    from celerant.results.tree import result_from_tuple
    from celerant.tasks.shared import shared_task
    from celerant.tasks.task import Task

    __version__: str

#: The module of each public name.
_PLACES = {
    "ArgumentError": "celerant.errors",
    "AsyncResult": "celerant.results.async_result",
    "BarrierError": "celerant.errors",
    "Cancelled": "celerant.results.cancelling",
    "CanvasError": "celerant.errors",
    "Celerant": "celerant.app",
    "CelerantError": "celerant.errors",
    "ChordError": "celerant.errors",
    "EncodeError": "celerant.errors",
    "Failures": "celerant.results.failures",
    "ForkError": "celerant.errors",
    "GroupResult": "celerant.results.group_result",
    "HandleError": "celerant.errors",
    "Ignore": "celerant.errors",
    "IncompleteStream": "celerant.errors",
    "JournalError": "celerant.errors",
    "MaxRetriesExceeded": "celerant.errors",
    "MaxRetriesExceededError": "celerant.errors",
    "NotSent": "celerant.errors",
    "Progress": "celerant.results.progress",
    "PublishError": "celerant.errors",
    "Reject": "celerant.errors",
    "Report": "celerant.errors.report",
    "ResultExpired": "celerant.errors",
    "ResultSet": "celerant.results.result_set",
    "ResultTimeout": "celerant.errors",
    "Retry": "celerant.errors",
    "SettingError": "celerant.errors",
    "Signature": "celerant.canvas.signature",
    "SoftTimeLimitExceeded": "celerant.errors",
    "StampingVisitor": "celerant.canvas.stamping",
    "Task": "celerant.tasks.task",
    "TaskError": "celerant.errors",
    "TaskRevoked": "celerant.errors",
    "allow_join_result": "celerant.results.tracking.waiting",
    "chain": "celerant.canvas.chain",
    "chord": "celerant.canvas.chord",
    "chunks": "celerant.canvas.mapping",
    "current_app": "celerant.app.current",
    "current_task": "celerant.app.current",
    "group": "celerant.canvas.group",
    "maybe_signature": "celerant.canvas.data",
    "result_from_tuple": "celerant.results.tree",
    "shared_task": "celerant.tasks.shared",
    "signature": "celerant.canvas.signature",
    "subtask": "celerant.canvas.signature",
    "xmap": "celerant.canvas.mapping",
    "xstarmap": "celerant.canvas.mapping",
}

__all__ = [
    "ArgumentError",
    "AsyncResult",
    "BarrierError",
    "Cancelled",
    "CanvasError",
    "Celerant",
    "CelerantError",
    "ChordError",
    "EncodeError",
    "Failures",
    "ForkError",
    "GroupResult",
    "HandleError",
    "Ignore",
    "IncompleteStream",
    "JournalError",
    "MaxRetriesExceeded",
    "MaxRetriesExceededError",
    "NotSent",
    "Progress",
    "PublishError",
    "Reject",
    "Report",
    "ResultExpired",
    "ResultSet",
    "ResultTimeout",
    "Retry",
    "SettingError",
    "Signature",
    "SoftTimeLimitExceeded",
    "StampingVisitor",
    "Task",
    "TaskError",
    "TaskRevoked",
    "allow_join_result",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "result_from_tuple",
    "shared_task",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]

#: Modules that users import.
_MODULES = (
    "celery",
    "django",
    "doctor",
    "errors",
    "exceptions",
    "metrics",
    "signals",
    "starlette",
    "states",
    "telemetry",
    "testing",
    "web",
)

#: Public names that are another name in their module: Celery's second name of it.
_OTHERWISE = {"subtask": "signature"}

if not TYPE_CHECKING:  # a type checker knows the names from above

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            # Heavy, and rarely asked for.
            found = importlib.import_module("importlib.metadata").version("celerant")
        elif name in _PLACES:
            place = importlib.import_module(_PLACES[name])
            found = getattr(place, _OTHERWISE.get(name, name))
        else:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        # Names that this module itself uses are not completed.
        dunders = {name for name in globals() if name.startswith("__")}
        return sorted({*dunders, *_PLACES, *_MODULES, "__version__"})


# The application decides where to log; until then nothing is printed.
logging.getLogger("celerant").addHandler(logging.NullHandler())
keep_logs_plain("celerant", "celerant.cli", "celerant.django", "celerant.worker")

if _core.build_info()["profile"] == "debug":
    warnings.warn(
        "celerant's extension is a debug build: ten times slower; `make build` makes "
        "a release build",
        RuntimeWarning,
        stacklevel=2,
    )
