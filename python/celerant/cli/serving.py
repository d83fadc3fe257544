"""Run a worker until a signal stops it."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NoReturn

from celerant.cli.exits import UNREACHABLE, USAGE
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.worker import Worker

__all__ = ["serve"]

logger = logging.getLogger("celerant.cli")

#: Seconds between attempts to reach the broker at the start.
_RETRY_PAUSE = 2.0
#: Seconds of one wait for a signal, so that one just before the wait is noticed.
_LOOK_INTERVAL = 1.0
#: New objects until the collector looks at the young ones: Python's default until 3.12
#: and from 3.13 on, and a worker's.
_PYTHONS_THRESHOLDS, _THRESHOLD = frozenset({700, 2000}), 10_000
#: Signals that stop the worker at once, as they do Celery's; Windows has none.
_COLD = tuple(filter(None, [getattr(signal, "SIGQUIT", None)]))


def serve(app: Celerant, worker: Worker) -> int:
    """Run a worker; return the exit code of the process."""
    # Handlers only note the signal. They may interrupt a thread that holds a lock, and
    # a SimpleQueue is the only queue or event that is safe then.
    noted: SimpleQueue[int | None] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, *_COLD):
        signal.signal(number, lambda number, _frame: noted.put(number))
    _collect_less_often()
    # Remote control asks for a warm stop.
    worker.on_shutdown = lambda: noted.put(signal.SIGTERM)
    try:
        first = _start(app, worker, noted)
    except CelerantError as exc:
        logger.error("%s", exc)  # noqa: TRY400 - the message says it all
        return USAGE
    except _UnreachableError:
        return UNREACHABLE
    if first is None:
        first = _await(noted)
    if first is not None and first in _COLD:
        _cut_off(worker, first)
    logger.warning("stopping after what runs; a second signal stops at once")

    def stop() -> None:
        try:
            worker.stop()
        finally:
            noted.put(None)

    threading.Thread(target=stop, daemon=True).start()
    second = _await(noted)
    if second is not None:
        _cut_off(worker, second)
    app.close()
    return 0


def _collect_less_often() -> None:
    """Look for garbage once in ten thousand new objects, unless the user has a say.

    A task makes about fifteen, which are gone with it. Python's own threshold costs a
    tenth of the time of tasks that do nothing.
    """
    first, *later = gc.get_threshold()
    if first in _PYTHONS_THRESHOLDS:
        # What the imports have made stays; nobody need look at it.
        gc.freeze()
        gc.set_threshold(_THRESHOLD, *later)


def _await(noted: SimpleQueue[int | None]) -> int | None:
    """Wait for the next noted signal; None once the worker has stopped."""
    # If a signal comes while this thread releases the GIL to wait, it does not end the
    # wait, and its handler runs only after the wait. So no wait is without a limit.
    while True:
        with contextlib.suppress(Empty):
            return noted.get(timeout=_LOOK_INTERVAL)


def _cut_off(worker: Worker, number: int) -> NoReturn:
    """End the process; running tasks are lost, or come again if their acks are late."""
    logger.warning("stopping at once")
    worker.kill()
    logging.shutdown()
    os._exit(128 + number)


class _UnreachableError(Exception):
    """The broker was not reachable for as many attempts as the settings allow."""


def _start(app: Celerant, worker: Worker, noted: SimpleQueue[int | None]) -> int | None:
    """Start the worker; wait if the broker is not reachable yet.

    Returns:
        The signal that ended the wait; None once the worker runs.
    """
    attempts = app.conf.broker_connection_max_retries or None
    tried = 0
    while True:
        try:
            worker.start()
        except ConnectionError as exc:
            tried += 1
            logger.error("%s", exc)  # noqa: TRY400 - the message says it all
            if not app.conf.broker_connection_retry or tried == attempts:
                raise _UnreachableError from exc
        else:
            return None
        with contextlib.suppress(Empty):
            return noted.get(timeout=_RETRY_PAUSE)
