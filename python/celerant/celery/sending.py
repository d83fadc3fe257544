"""Sends Celery's groups: eligible members in volleys, the others as Celery does."""

from __future__ import annotations

import _thread
import contextlib
import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import canvas
from celery.backends.rpc import RPCBackend
from kombu.exceptions import EncodeError as KombuEncodeError
from kombu.exceptions import OperationalError

from celerant._core import Fate, Ledger, Roster, Rules
from celerant.canvas.readable import readable
from celerant.celery.adapters import Spans, publishing
from celerant.celery.drawing import CeleryBlueprints
from celerant.celery.eligibility import of_app, of_call
from celerant.celery.functions import actual
from celerant.celery.generators import app_of, first
from celerant.celery.hearing import Hearing
from celerant.celery.member_tasks import MemberTasks
from celerant.celery.results import Segment, group_result, late_result
from celerant.celery.stretches import GroupReader, Stretch
from celerant.celery.versions import (
    BALANCES_REPRS,
    SWALLOWS_GROUP_INDEX,
    repr_levels,
)
from celerant.common.per_process import PerProcess
from celerant.common.stalls import limit_stalls
from celerant.config import SETTINGS as OURS
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.connections import Patience
from celerant.dispatch.dispatching import Many
from celerant.dispatch.interruption import carry, is_interruption
from celerant.dispatch.order import Hooks, Order
from celerant.errors import EncodeError, PublishError
from celerant.errors.report import Report

__all__ = ["SETTINGS", "apply_group", "tell"]

logger = logging.getLogger("celerant")

#: A setting of ours that may be among Celery's settings.
_STALL_TIMEOUT = "celerant_stall_timeout"


@dataclass
class _Settings:
    """The arguments of `install`."""

    uuid4: bool = False


SETTINGS = _Settings()


def tell(reason: str) -> None:
    """Log why a whole group takes Celery's own path."""
    logger.debug("a group takes Celery's own path: %s", reason)


def apply_group(  # noqa: PLR0913, PLR0917 - as `group.apply_async` of Celery
    original: Callable[..., Any],
    members: Any,
    args: Any = None,
    kwargs: Any = None,
    add_to_parent: bool = True,  # noqa: FBT001, FBT002 - as Celery's
    producer: Any = None,
    link: Any = None,
    link_error: Any = None,
    **options: Any,
) -> Any:
    """Send a Celery group.

    Args:
        original: Celery's own `apply_async` of `members`.
        members: The group.
        args: As in `group.apply_async`.
        kwargs: As there.
        add_to_parent: As there.
        producer: As there.
        link: As there.
        link_error: As there.
        **options: As there.
    Returns:
        A `celery.result.GroupResult`.
    """
    own = {"producer": producer, "link": link, "link_error": link_error}
    app = actual(app_of(members))
    reason = of_call(app, members, {**options, **own})
    if reason is None and first(members.tasks) is not None:
        reason = of_app(app)
        if reason is None:
            return _Sending(app, members, args, kwargs, options).over(add_to_parent)
    if reason is not None:
        tell(reason)
    return original(args, kwargs, add_to_parent=add_to_parent, **own, **options)


class _Sending:
    """One call of `group.apply_async`.

    Source: `group.apply_async` and `group._apply_tasks` of celery 5.7.0.
    """

    def __init__(
        self, app: Any, members: Any, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> None:
        self._app = app
        self._args = tuple(args or ())
        self._kwargs = dict(kwargs or {})
        options, self._group_id, _ = members._freeze_gid(options)  # noqa: SLF001 - Celery has no public one
        #: It is for all members, unless Celery loses it on the way to them.
        self._position = None if SWALLOWS_GROUP_INDEX else options.get("group_index")
        if SWALLOWS_GROUP_INDEX:
            options.pop("group_index", None)
        self._chord = options.pop("chord", None)
        self._options = options
        self._member_tasks = MemberTasks(app)
        self._stretches = GroupReader(
            app, self._member_tasks, self._group_id, options, uuid4=SETTINGS.uuid4
        ).stretches(members, self._chord)
        #: Results that the body of the members' chord waits for.
        self._chord_size = 0
        self._segments: list[Segment | list[Any]] = []
        #: One for each stretch that was taken up.
        self._reports: list[Report] = []
        #: Reasons of members that were logged.
        self._told: set[str] = set()

    def over(self, add_to_parent: bool) -> Any:  # noqa: FBT001 - the call's own
        """Send all members and return their result."""
        try:
            for stretch, is_last in self._stretches:
                self._chord_size += len(stretch) if stretch.is_fast else 0
                if not stretch.is_fast or not self._volley(stretch, is_last=is_last):
                    self._one_by_one(stretch, is_last=is_last)
        except BaseException as exc:
            if is_interruption(exc):
                carry(exc, *self._so_far())
            raise
        found = group_result(self._app, self._group_id, self._segments)
        parent = self._app.current_worker_task
        if add_to_parent and parent:
            parent.add_trail(found)
        return found

    def _so_far(self) -> tuple[Any, Report]:
        """Return the result of the members that were taken up, and the report of all.

        The report of a generator has the members that were drawn.
        """
        reports = list(self._reports)
        if isinstance(self._stretches, list):
            for stretch, _ in self._stretches[len(reports) :]:
                reports.append(Report(Ledger()))
                reports[-1].ledger.grow(len(stretch))
        found = late_result(self._app, self._group_id, *self._segments)
        return found, Report.joined(reports)

    def _volley(self, stretch: Stretch, *, is_last: bool) -> bool:
        """Send members together; False if that is impossible and no member has left."""
        app, conf = self._app, self._app.conf
        chord = stretch.chord if self._chord is None else self._chord
        options = {k: v for k, v in self._options.items() if v is not None}
        # Celery takes it as a parameter for canvases alone.
        options.pop("route_name", None)
        retry, policy = options.pop("retry", None), options.pop("retry_policy", None)
        if chord is not None:
            options["chord"] = chord
        before_last: Callable[[int], None] | None = None
        if chord is not None and is_last:
            before_last = self._announce
        roster = Roster(uuid.uuid4().bytes)
        positions = stretch.positions
        if self._position is not None:
            positions = [self._position] * len(stretch)
        is_plain = positions == list(range(len(stretch)))
        spans = Spans(stretch.tasks)
        blueprints = CeleryBlueprints(app, self._member_tasks, options, spans)
        order = Order(
            source=stretch.canvases,
            roster=roster,
            blueprints=blueprints,
            rules=Rules(
                readable(),
                repr_levels=repr_levels(conf),
                balanced_reprs=BALANCES_REPRS,
            ),
            patience=Patience(
                {**conf.task_publish_retry_policy, **(policy or {})},
                enabled=conf.task_publish_retry if retry is None else retry,
            ),
            ledger=Ledger(),
            args=self._args,
            kwargs=self._kwargs,
            positions=None if is_plain else positions,
            hooks=Hooks(
                before_last=before_last,
                listener=Hearing() if self._member_tasks.are_heard() else None,
            ),
        )
        # Replies come to the thread that sends, even if another one looks at them.
        own = app.backend if isinstance(app.backend, RPCBackend) else None
        self._segments.append(Segment(roster, stretch.member_tasks, own))
        order.ledger.grow(len(stretch))
        self._reports.append(Report(order.ledger))
        try:
            _open_replies(app)
            send = partial(Many(order).over, _carriers(app))
            sent = publishing(stretch.tasks, blueprints.routes, app, send)
        except Exception as exc:
            if is_interruption(exc):
                raise
            # Nothing has left: Celery raises its own error, if there is one.
            logger.debug("a volley takes Celery's own path", exc_info=True)
            self._segments.pop()
            self._reports.pop()
            return False
        spans.end(sent.error)
        self._reports[-1] = sent.report
        if sent.error is not None:
            if isinstance(sent.error, PublishError):
                carry(sent.error, *self._so_far())
            raise _celerys(sent.error)
        return True

    def _one_by_one(self, stretch: Stretch, *, is_last: bool) -> None:
        """Send members as Celery does."""
        results: list[Any] = []
        ledger = Ledger()
        ledger.grow(len(stretch))
        self._segments.append(results)
        self._reports.append(Report(ledger))

        def one(prepared: Any, producer: Any, *, is_last: bool) -> None:
            index = len(results)
            results.append(prepared[1])
            # A member may have turned out to be several.
            ledger.grow(index + 1)
            # If that is interrupted, its progress is unknown.
            ledger.mark_index(index, Fate.UNKNOWN)
            self._one(prepared, producer, is_last=is_last)
            ledger.mark_index(index, Fate.CONFIRMED)

        with self._app.producer_or_acquire(None) as producer:
            waiting: tuple[Any, Any, str] | None = None
            for prepared in self._prepared(stretch):
                if waiting is not None:
                    one(waiting, producer, is_last=False)
                waiting = prepared
            if waiting is not None:
                one(waiting, producer, is_last=is_last)

    def _one(self, prepared: Any, producer: Any, *, is_last: bool) -> None:
        signature, result_, group_id = prepared
        chord = self._chord
        if chord is None:
            chord = signature.options.get("chord")
        self._chord_size += canvas._chord._descend(signature)  # noqa: SLF001 - Celery has no public one
        if chord is not None and is_last:
            self._app.backend.set_chord_size(group_id, self._chord_size)
        signature.apply_async(
            producer=producer,
            add_to_parent=False,
            chord=chord,
            args=self._args,
            kwargs=self._kwargs,
            **self._options,
        )
        if result_ is None:
            # Before 5.7 a chord with an empty group as its body has no result, and
            # Celery raises the same error.
            raise AttributeError("a member of the group has no result to wait for")

    def _prepared(self, stretch: Stretch) -> Iterator[tuple[Any, Any, str]]:
        if not stretch.is_fast:
            for slow in stretch.originals:
                self._tell(slow.reason)
                yield from slow.prepare()
            return
        # They are counted already, as members of a volley.
        self._chord_size -= len(stretch)
        root_id = self._options.get("root_id")
        for position, task in zip(stretch.positions, stretch.originals, strict=True):
            if isinstance(task, canvas.Signature):
                signature = task.clone()
            else:
                signature = canvas.Signature.from_dict(task, app=self._app)
            found = signature.freeze(
                group_id=self._group_id, root_id=root_id, group_index=position
            )
            yield signature, found, self._group_id

    def _tell(self, reason: str) -> None:
        """Log why a member takes Celery's own path, once for all that do for it."""
        if reason not in self._told:
            self._told.add(reason)
            logger.debug("a member of a group takes Celery's own path: %s", reason)

    def _announce(self, _results: int) -> None:
        self._app.backend.set_chord_size(self._group_id, self._chord_size)


def _celerys(error: BaseException) -> BaseException:
    """Return Celery's error for a group of which not all members have left."""
    if not isinstance(error, PublishError):
        return error
    cause = error.__cause__
    if isinstance(cause, EncodeError):
        unfit: BaseException = KombuEncodeError(str(cause))
        unfit.__cause__ = cause
        return unfit
    if isinstance(cause, Exception) and not error.recoverable:
        return cause
    lost: BaseException = OperationalError(str(error))
    lost.__cause__ = error
    return lost


def _open_replies(app: Any) -> None:
    """Declare the destination of results, if it must exist before the tasks leave."""
    if isinstance(app.backend, RPCBackend):
        with app.producer_or_acquire() as producer:
            app.backend.on_task_call(producer, "")


_lock = PerProcess(threading.Lock)
_of_app: weakref.WeakKeyDictionary[Any, Carriers] = weakref.WeakKeyDictionary()


def _close_apart(carriers: Carriers) -> None:
    """Close the connections of an app that is gone, in a thread of their own.

    The collector calls this between any two steps of any thread, which may hold the
    lock of what is closed: of a queue in memory, or of a pool.
    """
    # Not by `threading`, whose own locks that thread may hold too. If the interpreter
    # is ending, the connections end with it.
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(_close, (carriers,))


def _close(carriers: Carriers) -> None:
    try:
        carriers.close()
    except Exception:
        logger.debug("connections of an app that is gone", exc_info=True)


def _carriers(app: Any) -> Carriers:
    with _lock.get():
        found = _of_app.get(app)
        if found is None:
            # If an app has no other references, its carriers go with it.
            connection = weakref.WeakMethod(app.connection_for_write)
            stall_timeout = app.conf.get(_STALL_TIMEOUT, OURS[_STALL_TIMEOUT].default)

            def connect() -> Any:
                make = connection()
                assert make is not None  # noqa: S101 - the app is sending
                return limit_stalls(make(), stall_timeout)

            itself = weakref.ref(app)

            def lend() -> Any:
                own = itself()
                assert own is not None  # noqa: S101 - as above
                return own.pool.acquire(block=True)

            found = Carriers(connect, app.conf.broker_pool_limit, lend)
            _of_app[app] = found
            weakref.finalize(app, _close_apart, found).atexit = False
        return found
