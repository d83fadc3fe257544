"""Sends groups of Celery tasks as one volley.

Source: `README.md` shows how to begin; ``celerant.errors`` draws what is raised.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version

from celerant import _core
from celerant.app import Celerant
from celerant.canvas.group import group
from celerant.canvas.signature import Signature, signature
from celerant.dispatch.report import Report
from celerant.errors import (
    BarrierError,
    CanvasError,
    CelerantError,
    ChordError,
    EncodeError,
    ForkError,
    MaxRetriesExceeded,
    NotSent,
    PublishError,
    ResultExpired,
    ResultTimeout,
    SettingError,
    SoftTimeLimitExceeded,
    TaskError,
    TaskRevoked,
)
from celerant.results.group_result import GroupResult
from celerant.results.result import AsyncResult
from celerant.task import Task

__all__ = [
    "AsyncResult",
    "BarrierError",
    "CanvasError",
    "Celerant",
    "CelerantError",
    "ChordError",
    "EncodeError",
    "ForkError",
    "GroupResult",
    "MaxRetriesExceeded",
    "NotSent",
    "PublishError",
    "Report",
    "ResultExpired",
    "ResultTimeout",
    "SettingError",
    "Signature",
    "SoftTimeLimitExceeded",
    "Task",
    "TaskError",
    "TaskRevoked",
    "group",
    "signature",
]

__version__ = version("celerant")

if _core.build_info()["profile"] == "debug":
    warnings.warn(
        "celerant's extension is a debug build: ten times slower; `make build` makes "
        "a release build",
        RuntimeWarning,
        stacklevel=2,
    )
