"""The work after a task: callbacks, the next step of its chain, its chord.

Source: ``celery.app.trace``, ``mark_as_done``, ``mark_as_failure``, ``_fail_chain`` and
``chord_error_from_stack`` of celery 5.7.0. Other than there, the steps after a revoked
task is revoked too, and a chord whose header fails is a failed part of the chord it is
in: nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant.canvas.data import maybe_signature
from celerant.canvas.group import group
from celerant.common.foreign import is_a, said, traceback_text, with_cause
from celerant.common.printable import Lines, shown
from celerant.common.stock_errors import encode_error, named_exception
from celerant.context.request import current_request
from celerant.errors import ChordError, EncodeError, PublishError
from celerant.running.errbacks import call_errbacks
from celerant.running.header_results import header_handle, takes_result
from celerant.running.logged import logged
from celerant.running.storing import stand_in
from celerant.running.trace import FAILURE, REVOKED, SUCCESS
from celerant.running.unsent import branches, followers

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.running.storing import Storing

__all__ = ["Continuation"]

logger = logging.getLogger("celerant.worker")


class Continuation:
    """Goes on after the tasks of a worker, from the threads of its pool."""

    def __init__(self, app: Any, storing: Storing) -> None:
        """Send by `app`, count chords in its backend, store by `storing`."""
        self._app = app
        self._storing = storing

    def send(self, request: Request, value: Any) -> BaseException | None:
        """Send callbacks and the next step of the chain of a task that succeeded.

        Before its result is stored, so that they are among its children.

        Returns:
            Why that is impossible; then the task fails.
        """
        if not request.callbacks and not request.chain:
            return None
        try:
            with _under(request):
                self._send(request, value)
        except BaseException as exc:  # noqa: BLE001 - arguments may have code of their own
            logger.error(  # noqa: TRY400 - its text may be code of its own
                "what follows task %s[%s] is not sent, so that the task fails%s",
                request.task,
                request.id,
                Lines(traceback_text(exc)),
            )
            return _stored_form(exc)
        return None

    def _send(self, request: Request, value: Any) -> None:
        options: dict[str, Any] = {
            "parent_id": request.id,
            "root_id": request.root_id or request.id,
        }
        if self._app.conf.task_inherit_parent_priority:
            options["priority"] = request.delivery_info.get("priority")
        for canvas in _together(self._app, request.callbacks or ()):
            canvas.apply_async((value,), **options)
        if request.chain:
            *rest, following = request.chain
            step = maybe_signature(following, self._app)
            step.apply_async((value,), chain=rest, **options)

    def succeed(self, request: Request, value: Any) -> Exception | None:
        """Count a task that succeeded, and whose result is stored, in its chord.

        Returns:
            Why its value cannot be kept for the chord; then the task fails.
        """
        if not request.chord:
            return None
        with _under(request):
            return self._part(request, SUCCESS, value)

    def fail(
        self,
        request: Request,
        exc: BaseException | None,
        traceback: str | None = None,
        *,
        state: str = FAILURE,
        is_stored: bool = True,
    ) -> None:
        """Tell all waiters for a task of its failure, or of its revocation.

        Raises nothing.

        Args:
            request: The task's.
            exc: Its exception.
            traceback: As text, the way results store it.
            state: FAILURE or REVOKED, which calls no errbacks.
            is_stored: Whether the next tasks get a result.
        """
        if not (request.chord or request.chain or request.errbacks):
            return
        with _under(request):
            if request.chord:
                self._part(request, state, exc)
            with logged("failing what follows", request):
                self._fail_followers(
                    request.chain, exc, traceback, state=state, is_stored=is_stored
                )
            if state != REVOKED:
                with logged("telling errbacks of", request):
                    call_errbacks(self._app, request, exc, traceback)

    def _fail_followers(
        self,
        chain: Any,
        exc: BaseException | None,
        traceback: str | None,
        *,
        state: str,
        is_stored: bool = True,
    ) -> None:
        for request in followers(chain):
            if is_stored and request.id:
                self._storing(request, exc, state, traceback)
            if request.chord:
                # Once for each task, also if its chain fails a second time.
                self._part(request, state, exc)

    # -- chords ------------------------------------------------------------------------

    def _part(self, request: Request, state: str, result: Any) -> Exception | None:
        """Count a part; send the body if it was the last.

        Raises nothing: if the part is lost, the body fails.
        """
        backend = self._app.backend
        try:
            part = backend.encode_part(request, state, result)
        except BaseException as exc:  # noqa: BLE001 - the result's own code may raise it
            if state == SUCCESS:
                return encode_error(said(exc))
            part = backend.encode_part(request, state, stand_in(result))
        what = f"part of chord {request.group}"
        count = partial(backend.count_part, request, part)
        chord = self._storing.patiently(count, request, what, lost=False)
        if chord is False:
            error = ChordError(f"Join error: the result of {request.id} is lost")
            with logged("failing the chord of", request):
                self._fail_body(request.chord or {}, error)
        elif chord is not None:
            self._complete(chord, request.chord)
        return None

    def _complete(self, chord: Any, body: Any) -> None:
        try:
            error: ChordError | None = None
            #: Of the header: the handle of its result, or a list.
            values: Any = None
            try:
                values = self._of_header(chord, body)
            except ChordError as exc:
                logger.error("chord %s fails: %s", chord.group_id, said(exc))  # noqa: TRY400 - a task's failure
                error = exc
            except BaseException as exc:  # noqa: BLE001 - anything may stand in a record
                logger.error(  # noqa: TRY400 - its origin tells nothing
                    "chord %s fails, for a part cannot be read: %s",
                    chord.group_id,
                    said(exc),
                )
                error = ChordError(f"Join error: {shown(exc)}")
                with_cause(error, exc)
            if not chord.renew(self._patience()):
                logger.warning("chord %s is completed by another", chord.group_id)
                return
            try:
                if error is None:
                    maybe_signature(body, self._app).apply_async((values,))
            except BaseException as exc:  # noqa: BLE001 - values may have code of their own
                logger.error(  # noqa: TRY400 - as above
                    "the body of chord %s is not sent%s",
                    chord.group_id,
                    Lines(traceback_text(exc)),
                )
                error = ChordError(f"Callback error: {shown(exc)}")
                with_cause(error, exc)
            if error is not None:
                self._fail_body(body, error)
            if not chord.finish():
                logger.warning(
                    "chord %s took longer than its claim; what is kept of it expires",
                    chord.group_id,
                )
        except BaseException as exc:  # noqa: BLE001 - a slot goes on
            logger.error(  # noqa: TRY400 - as above
                "chord %s is not completed%s",
                chord.group_id,
                Lines(traceback_text(exc)),
            )

    def _of_header(self, chord: Any, body: Any) -> Any:
        """Return what a body gets of its header: a handle, or the list of its values.

        Raises:
            ChordError: A task of the header failed.
        """
        if takes_result(self._app.tasks, body):
            handle = header_handle(chord, self._app.backend, body)
            if handle is not None:
                return handle
        return chord.values()

    def _fail_body(self, body: Mapping[str, Any], error: ChordError) -> None:
        is_group = body.get("subtask_type") == "group"
        # As in Celery: a group's members fail with the header's exception.
        exc = error.__cause__ if is_group and error.__cause__ else error
        text = traceback_text(exc)
        for request in branches(body):
            call_errbacks(self._app, request, exc, None)
            if request.id:
                self._storing(request, exc, FAILURE, text)
            if request.chord:
                self._part(request, FAILURE, exc)
            self._fail_followers(request.chain, exc, text, state=FAILURE)

    def _patience(self) -> float:
        """Return the seconds that sending a body may take with all its retries."""
        conf = self._app.conf
        timeout = float(conf.broker_connection_timeout or 4)
        policy = conf.task_publish_retry_policy or {}
        retries = policy.get("max_retries") if conf.task_publish_retry else 0
        retries = 3 if retries is None else max(0, int(retries))
        return (retries + 1) * (
            timeout + float(policy.get("interval_max", 1))
        ) + timeout


@contextlib.contextmanager
def _under(request: Request) -> Iterator[None]:
    """Make messages belong to this task: its parent, root and children."""
    token = current_request.set(request)
    try:
        yield
    finally:
        current_request.reset(token)


def _together(app: Any, callbacks: Any) -> Iterator[Any]:
    """Return callbacks as they are sent: groups singly, all others as one group."""
    canvases = [maybe_signature(callback, app) for callback in callbacks]
    if len(canvases) == 1:
        yield canvases[0]
        return
    yield from (canvas for canvas in canvases if isinstance(canvas, group))
    others = [canvas for canvas in canvases if not isinstance(canvas, group)]
    if others:
        yield group(others, app=app)


def _stored_form(exc: BaseException) -> BaseException:
    """Return an error of sending as Celery's workers store it."""
    if is_a(exc, EncodeError):
        return encode_error(str(exc))
    if is_a(exc, PublishError):
        return named_exception("OperationalError", "kombu.exceptions", str(exc))
    return exc
