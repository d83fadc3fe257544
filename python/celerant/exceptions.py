"""The names that code imports from ``celery.exceptions``.

They are Celerant's own classes, whether Celery is installed or not: `except` looks at
what a class derives from, and Celerant imports no Celery. A worker takes Celery's own
`Retry`, `Ignore` and `Reject` too, if a task raises them.
"""

from __future__ import annotations

from celerant.errors import (
    CelerantError as CeleryError,
)
from celerant.errors import (
    ChordError,
    DuplicateTaskNameWarning,
    Ignore,
    IncompleteStream,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskError,
)
from celerant.errors import (
    PublishError as OperationalError,
)
from celerant.errors import (
    ResultTimeout as TimeoutError,  # noqa: A004 - Celery's name
)
from celerant.errors import (
    SettingError as ImproperlyConfigured,
)
from celerant.errors import (
    TaskControl as TaskPredicate,
)
from celerant.errors import (
    TaskRevoked as TaskRevokedError,
)

__all__ = [
    "CeleryError",
    "ChordError",
    "DuplicateTaskNameWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeoutError",
]

#: The error about an unknown queue that the settings do not allow to make.
QueueNotFound = ImproperlyConfigured
