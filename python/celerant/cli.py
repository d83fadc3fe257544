"""The command line: ``celerant worker -A module:app``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from celerant.errors import CelerantError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celerant.app import Celerant
    from celerant.worker import Worker

__all__ = ["load_app", "main"]

logger = logging.getLogger("celerant.cli")

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: Exit code of a wrong command line, as argparse has it.
_USAGE = 2
#: Seconds between attempts to reach the broker at the start.
_RETRY_PAUSE = 2.0
#: Seconds until a signal is noticed that came just before the wait for it.
_LOOK_INTERVAL = 1.0
#: Signals that stop at once, as they stop Celery; Windows has none.
_COLD = tuple(filter(None, [getattr(signal, "SIGQUIT", None)]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: The words after the program's name; None takes the process's own.
    """
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return _USAGE
    if parsed.app is None:
        parser.error("name the app: celerant worker -A MODULE:APP")
    logging.basicConfig(level=parsed.loglevel, format=_FORMAT, stream=sys.stderr)
    # As `python -m` and Celery do: the app is mostly in the current folder.
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 - compared as text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the same
    try:
        app = load_app(parsed.app)
        if parsed.task_events:
            app.conf.worker_send_task_events = True
        worker = app.worker(
            concurrency=parsed.concurrency,
            pool=parsed.pool,
            queues=parsed.queues,
            hostname=parsed.hostname,
        )
    except CelerantError as exc:
        parser.error(str(exc))
    return _serve(app, worker)


def load_app(path: str) -> Celerant:
    """Return the app that ``module:attribute`` names; the attribute may be dotted.

    Raises:
        CelerantError: There is no such module or attribute, or it is no app.
    """
    from celerant.app import Celerant  # noqa: PLC0415 - --version needs no app

    module_name, _, attribute = path.partition(":")
    attribute = attribute or "app"
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as exc:
        msg = (
            f"-A {path}: cannot import module {module_name!r} "
            f"({type(exc).__name__}: {exc}); give module:attribute as seen from here"
        )
        raise CelerantError(msg) from exc
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as exc:
            msg = (
                f"-A {path}: module {module_name!r} has no {attribute!r}; name the "
                f"variable that holds the app, like {module_name}:app"
            )
            raise CelerantError(msg) from exc
    if isinstance(found, Celerant):
        return found
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    hint = "; start it with celery -A" if kind.startswith("celery.") else ""
    msg = f"-A {path}: {attribute!r} is no Celerant app but a {kind}{hint}"
    raise CelerantError(msg)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="celerant", description="Run the tasks of a Celerant app."
    )
    parser.add_argument("--version", action="version", version=_version())
    _add_app(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="command")
    worker = commands.add_parser("worker", help="run tasks until told to stop")
    # Before the command or after it, as with Celery.
    _add_app(worker, default=argparse.SUPPRESS)
    worker.add_argument(
        "-c", "--concurrency", type=_positive, metavar="N", help="tasks at a time"
    )
    worker.add_argument(
        "-P", "--pool", choices=("threads", "processes"), default="threads"
    )
    worker.add_argument(
        "-Q", "--queues", type=_names, metavar="A,B", help="queues to consume"
    )
    worker.add_argument(
        "-l", "--loglevel", type=str.upper, choices=_LEVELS, default="INFO"
    )
    worker.add_argument(
        "-E", "--task-events", action="store_true", help="send events for monitors"
    )
    worker.add_argument("-n", "--hostname", metavar="NAME", help="the worker's name")
    return parser


def _add_app(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "-A", "--app", default=default, metavar="MODULE:APP", help="where the app is"
    )


def _version() -> str:
    try:
        return f"celerant {version('celerant')}"
    except PackageNotFoundError:
        return "celerant (not installed)"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{text} is no positive number"
        raise argparse.ArgumentTypeError(msg)
    return number


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        msg = "it names no queue"
        raise argparse.ArgumentTypeError(msg)
    return names


def _serve(app: Celerant, worker: Worker) -> int:
    # Handlers only note the signal: they may interrupt a thread that holds any lock,
    # and of all queues and events only this queue is safe to use there.
    noted: SimpleQueue[int | None] = SimpleQueue()
    for number in (signal.SIGINT, signal.SIGTERM, *_COLD):
        signal.signal(number, lambda number, _frame: noted.put(number))
    # A warm stop, asked for by remote control.
    worker.on_shutdown = lambda: noted.put(signal.SIGTERM)
    try:
        first = _start(app, worker, noted)
    except CelerantError as exc:
        logger.error("%s", exc)  # noqa: TRY400 - the message says it all
        return _USAGE
    except _UnreachableError:
        return 1
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


def _await(noted: SimpleQueue[int | None]) -> int | None:
    """Wait for the next note."""
    # A signal that comes while this thread gives up the GIL to wait does not end the
    # wait, and its handler runs only after it: so no wait is for ever.
    while True:
        with contextlib.suppress(Empty):
            return noted.get(timeout=_LOOK_INTERVAL)


def _cut_off(worker: Worker, number: int) -> NoReturn:
    """End at once: running tasks are lost, or come again if their acks are late."""
    logger.warning("stopping at once")
    worker.kill()
    logging.shutdown()
    os._exit(128 + number)


class _UnreachableError(Exception):
    """The broker was asked for as often as the settings say."""


def _start(app: Celerant, worker: Worker, noted: SimpleQueue[int | None]) -> int | None:
    """Start, waiting for a broker that is not there yet.

    Returns:
        The signal that ended the waiting; None once the worker runs.
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
