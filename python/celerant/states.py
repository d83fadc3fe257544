"""The names of tasks' states, as ``celery.states`` has them.

A task may store any other name too; see `Task.update_state`.
Source: ``celery.states`` of celery 5.7.0: names and sets.
"""

from __future__ import annotations

__all__ = [
    "ALL_STATES",
    "EXCEPTION_STATES",
    "FAILURE",
    "IGNORED",
    "PENDING",
    "PROPAGATE_STATES",
    "READY_STATES",
    "RECEIVED",
    "REJECTED",
    "RETRY",
    "REVOKED",
    "STARTED",
    "SUCCESS",
    "UNREADY_STATES",
]

#: The task has no record; unknown ids have this state too.
PENDING = "PENDING"
#: A worker has got the task; only events tell this state.
RECEIVED = "RECEIVED"
#: The task runs; stored only with ``task_track_started``.
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: The task will run again.
RETRY = "RETRY"
#: The task's result is not stored.
IGNORED = "IGNORED"
#: A worker has given the task back; only events tell this state.
REJECTED = "REJECTED"

#: States of tasks that are done.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: States of tasks that are not done.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: States whose stored value is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: States whose exception `get` raises.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})
