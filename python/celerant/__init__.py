"""Sends groups of Celery tasks as one volley.

Source: `README.md` shows how to begin; ``celerant.errors`` draws what is raised.
"""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version

import celerant.patching  # noqa: F401 - before anything that has to do with sockets

# isort: split
from celerant import _core
from celerant.app import Celerant
from celerant.app.current import current_app, current_task
from celerant.canvas.base import maybe_signature
from celerant.canvas.chord import chord
from celerant.canvas.composing import chain
from celerant.canvas.group import group
from celerant.canvas.mapping import chunks, xmap, xstarmap
from celerant.canvas.signature import Signature, signature
from celerant.canvas.stamping import StampingVisitor
from celerant.common.printable import keep_logs_plain
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
from celerant.results.group_result import GroupResult
from celerant.results.result import AsyncResult
from celerant.results.result_set import ResultSet
from celerant.results.tree import result_from_tuple
from celerant.results.waiting import allow_join_result
from celerant.tasks.shared import shared_task
from celerant.tasks.task import Task

__all__ = [
    "ArgumentError",
    "AsyncResult",
    "BarrierError",
    "CanvasError",
    "Celerant",
    "CelerantError",
    "ChordError",
    "EncodeError",
    "ForkError",
    "GroupResult",
    "HandleError",
    "Ignore",
    "IncompleteStream",
    "MaxRetriesExceeded",
    "MaxRetriesExceededError",
    "NotSent",
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

#: Celery's other name of it.
subtask = signature

__version__ = version("celerant")

# Where to log is for the application to say; until it does, nothing is printed.
logging.getLogger("celerant").addHandler(logging.NullHandler())
keep_logs_plain("celerant", "celerant.cli", "celerant.django", "celerant.worker")

if _core.build_info()["profile"] == "debug":
    warnings.warn(
        "celerant's extension is a debug build: ten times slower; `make build` makes "
        "a release build",
        RuntimeWarning,
        stacklevel=2,
    )
