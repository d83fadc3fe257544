"""Django's work around a web request, done around a task of a worker.

Source: ``celery.fixups.django`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django
from django.apps import apps
from django.core.cache import close_caches
from django.db import close_old_connections

from celerant.running.surroundings import run_inside

__all__ = ["install", "set_up"]

logger = logging.getLogger("celerant.django")


def set_up() -> None:
    """Set Django up, unless that was done, and prepare for tasks."""
    # Twice would configure logging anew.
    if not apps.ready:
        django.setup()
    install()


def install() -> None:
    """Close connections around every task that a worker runs in this process.

    Not around tasks that run in place: they are part of their caller's work.
    """
    run_inside(fresh_connections)


@contextmanager
def fresh_connections() -> Iterator[None]:
    """Drop database connections that are too old or broken, before and after.

    As Django does for requests: a connection outlives the task for ``CONN_MAX_AGE``
    seconds, by default not at all.
    """
    _quietly(close_old_connections)
    try:
        yield
    finally:
        _quietly(close_old_connections)
        _quietly(close_caches)


def _quietly(close: Callable[[], object]) -> None:
    try:
        close()
    except Exception:
        # A connection that cannot even be closed is no failure of the task.
        logger.exception("%s failed around a task", close.__name__)
