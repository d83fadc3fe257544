"""The base class of result backends."""

from __future__ import annotations

import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from celerant.common.limits import NO_LIMITS, Limits
from celerant.common.per_process import PerProcess
from celerant.common.printable import frames_of_ours, line
from celerant.common.urls import masked
from celerant.errors import CelerantError
from celerant.results.backends.chords import ChordResults
from celerant.results.backends.lifetimes import seconds_to_live
from celerant.results.consuming.consumer import Consumer
from celerant.results.consuming.feed import Feed
from celerant.results.tracking.record import Codec
from celerant.states import READY_STATES, RETRY, SUCCESS

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.backends.handle_store import HandleStore
    from celerant.results.tracking.member_backend import Trouble
    from celerant.results.tracking.members import Members

__all__ = ["RETRY_POLICY", "Backend"]

#: Celery's own retry policy for results.
RETRY_POLICY: Mapping[str, Any] = MappingProxyType(
    {"max_retries": 20, "interval_start": 0, "interval_step": 1, "interval_max": 1}
)


def _no_workers(*_args: Any, **_kwargs: Any) -> None:
    msg = "this result's backend belongs to no app: revoke with app.control.revoke(ids)"
    raise CelerantError(msg)


def _no_obstacle() -> str | None:
    return None


class Backend(ChordResults):
    """A store of results, and the consumer that watches it for this process.

    Args:
        url: The store's URL.
        expires: Seconds (or a timedelta) that a result is kept; 0 or None is for
            ever.
        failure_expires: The same for failures; None is `expires`.
        serializer: kombu's name of the serializer of records.
        accept: Names of serializers that may be read; None is all that kombu enables.
        compression: kombu's name of a compression; None is no compression.
        extended: Whether records have the task's name and arguments too.
        transport_options: ``result_backend_transport_options``.
        chord_expires: Seconds (or a timedelta) that the parts of a chord are kept;
            None is `expires`.
        join_timeout: ``result_chord_join_timeout`` in seconds, which Celery's workers
            use; None is five.
        limits: The limits of records that are read.

    Raises:
        SettingError: A setting is impossible.
    """

    #: Whether it stores results.
    has_results = True
    #: The retry policy for a store that is not reachable, in kombu's terms.
    retry_policy: Mapping[str, Any] = MappingProxyType({})
    #: Whether `store_many` is faster than `store_encoded` for each record.
    stores_many = False
    #: The errors of a broken connection.
    connection_errors: tuple[type[Exception], ...] = ()
    #: How often results on their way may have been lost.
    losses = 0

    def __init__(  # noqa: PLR0913 - Celery's settings
        self,
        url: str,
        *,
        expires: float | timedelta | None = 86400,
        failure_expires: float | timedelta | None = None,
        serializer: str = "json",
        accept: Iterable[str] | None = ("json",),
        compression: str | None = None,
        extended: bool = False,
        transport_options: Mapping[str, Any] | None = None,
        chord_expires: float | timedelta | None = None,
        join_timeout: float | None = None,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._url = url
        self.expires = seconds_to_live("result_expires", expires)
        self.failure_expires = (
            self.expires
            if failure_expires is None
            else seconds_to_live("result_failure_expires", failure_expires)
        )
        self.chord_expires = (
            self.expires
            if chord_expires is None
            else seconds_to_live("result_chord_expires", chord_expires)
        )
        self.join_timeout = join_timeout
        self.transport_options = dict(transport_options or {})
        self.codec = Codec(
            serializer=serializer,
            accept=accept,
            compression=compression,
            extended=extended,
            limits=limits,
        )
        #: Tells workers not to run tasks. The app sets it, because it has the broker.
        self.revoke: Callable[..., object] = _no_workers
        #: Tells workers not to run tasks with some stamps; set by the app.
        self.revoke_by_stamped_headers: Callable[..., object] = _no_workers
        #: Returns the app of the results; None if there is none or it was collected.
        self.app: Callable[[], Any] = _no_obstacle
        #: Returns why no result can come now, None if it can; set by the app.
        self.obstacle: Callable[[], str | None] = _no_obstacle
        #: Makes a result from the state in its pickle; set by the app.
        self.unpickle: Callable[[dict[str, Any]], Any] | None = None
        self._has_told = False
        self._own = PerProcess(_Own, _Own.leave)

    def tell_obstacle(self) -> None:
        """Warn, once, why no result can come now; called before a wait.

        It uses `warnings`, because a plain script may not have set up logging.
        """
        reason = None if self._has_told else self.obstacle()
        if reason is not None:
            self._has_told = True
            msg = f"waiting for a result although {reason}"
            warnings.warn(msg, RuntimeWarning, stacklevel=frames_of_ours())

    @abstractmethod
    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store a record for `expires` seconds (0 is for ever), and tell waiters."""

    @abstractmethod
    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""

    @abstractmethod
    def open_feed(self) -> Feed:
        """Return the feed of new records to this process."""

    def count_stored(self, ids: Sequence[str]) -> int:
        """Return how many of `ids` have a record, in any state."""
        return sum(record is not None for record in self.fetch(ids))

    def handles_here(self) -> HandleStore | None:
        """Return the store of handles for this process's tasks, or None."""
        return self if self.supports_handles else None

    def reply_to(self, *, is_needed: bool) -> str | None:  # noqa: ARG002 - subclasses use it
        """Return the queue that results come to; None if they are stored instead.

        Args:
            is_needed: Whether a result will come, so that the queue must exist.

        Raises:
            CelerantError: The queue cannot be made within the retry policy.
        """
        return None

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:  # noqa: ARG002 - subclasses use it
        """Call `tell` for each record of a task from now on, if no consumer is needed.

        Returns:
            False if only the consumer hears of records.
        """
        return False

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen` that returned True."""

    def check(self, members: Members) -> None:
        """Check that the results of members come to this process.

        Raises:
            ForkError: They come to another process.
        """

    def doubt(self, members: Members) -> CelerantError | None:  # noqa: ARG002 - subclasses use it
        """Return, once for each loss, why results of `members` may never come."""
        return None

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        *,
        request: Request | None = None,
    ) -> None:
        """Store the outcome of a task, as a Celery worker does.

        A stored SUCCESS stays: a second run that fails does not replace it.

        Raises:
            EncodeError: The serializer does not take the result; no record is stored.
        """
        payload = self.encode_result(task_id, result, state, traceback, request=request)
        self.store_encoded(task_id, payload, state, request=request)

    def encode_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        *,
        request: Request | None = None,
    ) -> bytes:
        """Return the record to store, without a round trip.

        Raises:
            EncodeError: The serializer does not take the result.
            BaseException: The result's own code may raise anything.
        """
        return self.codec.encode(task_id, result, state, traceback, request)

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,
        *,
        request: Request | None = None,  # noqa: ARG002 - subclasses use it
    ) -> None:
        """Store a record, unless the task has the record of a success.

        A retry's record does not replace any end: the next run may have ended before
        this record is stored.

        Raises:
            Exception: The store's own; `is_away` tells which may be over soon.
        """
        expires = self.expires_of(state)
        if state == RETRY:
            self.store_retry(task_id, payload, expires=expires)
        elif self.may_replace(self.read(task_id), state):
            self.store(task_id, payload, expires=expires)

    def store_retry(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store the record of a retry, unless the next run has ended.

        The next run's message has left, so the run may end at any time. If a store
        can, it checks and stores in one step.
        """
        if self.may_replace(self.read(task_id), RETRY):
            self.store(task_id, payload, expires=expires)

    def expires_of(self, state: str) -> int:
        """Return for how many seconds a record of `state` is kept; 0 is for ever."""
        return self.failure_expires if state == "FAILURE" else self.expires

    def may_replace(self, stored: bytes | None, state: str) -> bool:
        """Whether a record of `state` may replace the stored one."""
        if stored is None:
            return True
        status = self._status(stored)
        if state == RETRY and isinstance(status, str):
            return status not in READY_STATES
        return bool(status != SUCCESS)

    def store_many(
        self, records: Sequence[tuple[str, bytes, str]], requests: Sequence[Request]
    ) -> None:
        """Store records, (task id, payload, state) each, as `store_encoded` does one.

        Raises:
            Exception: The store's own; some records may be stored then.
        """
        for (task_id, payload, state), request in zip(records, requests, strict=True):
            self.store_encoded(task_id, payload, state, request=request)

    def is_away(self, exc: Exception) -> bool:
        """Whether an error means that the store is lost and may be back soon."""
        cause = exc.__cause__ if isinstance(exc, CelerantError) else exc
        return isinstance(cause, self.connection_errors)

    def failure_of(self, exc: BaseException) -> CelerantError:
        """Return the error that tells users of one of the store's."""
        return CelerantError(f"result backend {self.as_uri()} failed: {line(exc)}")

    def read(self, task_id: str) -> bytes | None:
        """Return one stored record; None if there is none."""
        return self.fetch([task_id])[0]

    def decode(self, payload: Any) -> dict[str, Any]:
        """Return a record's fields; ``{}`` if there is no record."""
        if not payload:
            return {}
        decoded = self.codec.decode(payload)
        return decoded if isinstance(decoded, dict) else {}

    def _status(self, payload: bytes) -> Any:
        try:
            return self.decode(payload).get("status")
        except Exception:  # noqa: BLE001 - an unreadable record may be replaced
            return None

    @property
    def trouble(self) -> Trouble | None:
        """Why the consumer cannot reach the store; None if it can."""
        consumer = self._own.get().consumer
        return None if consumer is None else consumer.trouble

    @property
    def is_calling_back(self) -> bool:
        """Whether a `then` callback runs in this thread, the consumer's."""
        consumer = self._own.get().consumer
        return consumer is not None and consumer.is_here

    @property
    def consumer(self) -> Consumer:
        """The one consumer of this backend in this process."""
        own = self._own.get()
        with own.lock:
            if own.consumer is None:
                own.consumer = Consumer(self)
            return own.consumer

    def unfinished(self) -> int:
        """Return how many members this process waits for; starts no consumer."""
        consumer = self._own.get().consumer
        return 0 if consumer is None else consumer.unfinished()

    def as_uri(self) -> str:
        """Return the URL without its password."""
        uri = masked(self._url)
        # kombu adds a slash to a URL without a host.
        return uri[:-1] if uri.endswith(":///") else uri

    def forget_connections(self) -> None:
        """Close the idle connections, because one was lost."""

    def close(self) -> None:
        """Stop the consumer and close connections; the backend stays usable."""
        own = self._own.get()
        with own.lock:
            consumer, own.consumer = own.consumer, None
        if consumer is not None:
            consumer.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.as_uri()}>"


class _Own:
    """The consumer of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.consumer: Consumer | None = None

    def leave(self) -> None:
        """In a forked child, release resources that the parent goes on using."""
        if self.consumer is not None:
            self.consumer.leave()
