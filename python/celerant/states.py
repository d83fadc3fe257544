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

#: Nothing is known of it; unknown ids have this state too.
PENDING = "PENDING"
#: A worker has it; only events tell so.
RECEIVED = "RECEIVED"
#: It runs; stored only with ``task_track_started``.
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
#: It will run again.
RETRY = "RETRY"
#: Its result is not stored.
IGNORED = "IGNORED"
#: A worker gave it back; only events tell so.
REJECTED = "REJECTED"

#: It is done, one way or another.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: It is not done.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: The stored value is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: `get` raises that exception.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})
