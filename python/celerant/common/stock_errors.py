"""Exceptions that are stored under the names stock clients know.

A stored failure is a class name, a module and arguments. What Celery's worker
raises itself is stored here under Celery's names without importing Celery, so that
a stock client rebuilds its own classes.
Source: ``celery.exceptions`` and ``billiard.exceptions`` as stored by celery 5.7.0.
"""

from __future__ import annotations

import functools
from typing import Any

__all__ = [
    "encode_error",
    "named_exception",
    "not_registered",
    "task_revoked",
    "time_limit_exceeded",
    "worker_lost",
]


@functools.lru_cache(maxsize=256)
def _class(name: str, module: str) -> type[Exception]:
    qualname, short = name, name.rpartition(".")[2]
    return type(short, (Exception,), {"__module__": module, "__qualname__": qualname})


def named_exception(name: str, module: str, *args: Any) -> Exception:
    """Return an exception that is stored as `module`.`name` with these arguments."""
    return _class(name, module)(*args)


def not_registered(task: str) -> Exception:
    """Return the exception to store for a task that is not registered here."""
    return named_exception("NotRegistered", "celery.exceptions", task)


def task_revoked(reason: str) -> Exception:
    """Return the exception to store for a task that was revoked or has expired."""
    return named_exception("TaskRevokedError", "celery.exceptions", reason)


def worker_lost(reason: str) -> Exception:
    """Return the exception to store for a task whose process died under it."""
    return named_exception("WorkerLostError", "billiard.exceptions", reason)


def time_limit_exceeded(limit: float) -> Exception:
    """Return the exception to store for a task killed after `limit` seconds."""
    return named_exception("TimeLimitExceeded", "billiard.exceptions", limit)


def encode_error(reason: str) -> Exception:
    """Return the exception to store for a value that no serializer takes."""
    return named_exception("EncodeError", "kombu.exceptions", reason)
