"""What every result backend can do, and what its consumer needs of it."""

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
from celerant.common.printable import frames_of_ours
from celerant.common.urls import masked
from celerant.errors import CelerantError
from celerant.results.backends.beside import Beside
from celerant.results.backends.chords import ChordResults
from celerant.results.backends.lifetimes import seconds_to_live
from celerant.results.consuming.consumer import Consumer
from celerant.results.consuming.feed import Feed
from celerant.results.tracking.record import Codec
from celerant.states import READY_STATES, RETRY, SUCCESS

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.backends.handle_store import HandleStore
    from celerant.results.tracking.members import Members
    from celerant.results.tracking.source import Trouble

__all__ = ["Backend"]


def _no_workers(*_args: Any, **_kwargs: Any) -> None:
    msg = "this result's backend belongs to no app: revoke with app.control.revoke(ids)"
    raise CelerantError(msg)


def _no_obstacle() -> str | None:
    return None


class Backend(Beside, ChordResults):
    """A store of results, and the one consumer that watches it for this process.

    Args:
        url: Where the store is.
        expires: Seconds (or a timedelta) that a result is kept; 0 or None for ever.
        failure_expires: The same for failures; None: as `expires`.
        serializer: kombu's name of how records are written.
        accept: Serializers that may be read; None: all that kombu enables.
        compression: kombu's name, or None.
        extended: Whether records name the task and its arguments too.
        transport_options: ``result_backend_transport_options``.
        chord_expires: Seconds (or a timedelta) that the parts of a chord are kept;
            None: as `expires`.
        join_timeout: ``result_chord_join_timeout`` in seconds, to Celery's workers;
            None: five.
        limits: On the records that are read.

    Raises:
        SettingError: A setting that cannot be.
    """

    #: Whether it stores any.
    has_results = True
    #: How long to go on asking a store that is away, as kombu takes it.
    retry_policy: Mapping[str, Any] = MappingProxyType({})
    #: Whether `store_many` is there.
    stores_many = False
    #: What a broken connection raises.
    connection_errors: tuple[type[Exception], ...] = ()
    #: How often results that were on their way may have been lost.
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
        #: Tells workers not to run tasks; the app sets it, for it knows the broker.
        self.revoke: Callable[..., object] = _no_workers
        #: The same by stamps.
        self.revoke_by_stamped_headers: Callable[..., object] = _no_workers
        #: The app whose results these are; None where it is gone, or there is none.
        self.app: Callable[[], Any] = _no_obstacle
        #: Says why no result can come now, None where it can; the app sets it too.
        self.obstacle: Callable[[], str | None] = _no_obstacle
        #: Makes a result again from what its pickle holds; the app sets it as well.
        self.unpickle: Callable[[dict[str, Any]], Any] | None = None
        self._has_told = False
        self._own = PerProcess(_Own, _Own.leave)

    def tell_obstacle(self) -> None:
        """Warn, once, why no result can come now, for who is about to wait.

        By `warnings`: a plain script that has not set up logging must hear of it.
        """
        reason = None if self._has_told else self.obstacle()
        if reason is not None:
            self._has_told = True
            msg = f"waiting for a result although {reason}"
            warnings.warn(msg, RuntimeWarning, stacklevel=frames_of_ours())

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the records of `ids` as stored, None where there is none."""

    @abstractmethod
    def store(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store a record and tell who waits; `expires` in seconds, 0 for ever."""

    @abstractmethod
    def forget(self, ids: Sequence[str]) -> None:
        """Delete the records of `ids`."""

    @abstractmethod
    def open_feed(self) -> Feed:
        """Return what brings new records to this process."""

    def count_stored(self, ids: Sequence[str]) -> int:
        """Return how many of `ids` have a record, in whatever state."""
        return sum(record is not None for record in self.fetch(ids))

    def handles_here(self) -> HandleStore | None:
        """Return what keeps handles for the tasks of this process; None: nothing."""
        return self if self.supports_handles else None

    def reply_to(self, *, is_needed: bool) -> str | None:  # noqa: ARG002 - for those that have one
        """Return the queue that results come to; None where they are stored instead.

        Args:
            is_needed: A result is to come: see that it can.

        Raises:
            CelerantError: The queue cannot be made within the retry policy.
        """
        return None

    def listen(self, members: Members, task_id: str, tell: Callable[[], None]) -> bool:  # noqa: ARG002 - for those that can
        """Call `tell` for each record of a task from now on, if that needs no consumer.

        Returns:
            False where only the consumer hears of records.
        """
        return False

    def unlisten(
        self, members: Members, task_id: str, tell: Callable[[], None]
    ) -> None:
        """Undo one `listen` that returned True."""

    def check(self, members: Members) -> None:
        """Refuse to wait for members whose results come to another process.

        Raises:
            ForkError: They do.
        """

    def doubt(self, members: Members) -> CelerantError | None:  # noqa: ARG002 - for those that lose
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
        """Store what became of a task, as a Celery worker does.

        A stored SUCCESS stays: a second run that fails does not replace it.

        Raises:
            EncodeError: The serializer does not take the result; nothing is stored.
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
        """Return the record to store; asks no store.

        Raises:
            EncodeError: The serializer does not take the result.
            BaseException: The result's own code raises it.
        """
        return self.codec.encode(task_id, result, state, traceback, request)

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,
        *,
        request: Request | None = None,  # noqa: ARG002 - for those that send
    ) -> None:
        """Store a record, unless there is one of a success.

        Nor does a retry replace an end: the next run may have ended before its message
        is sent and this is stored.

        Raises:
            Exception: The store's own; `is_away` knows which may be over soon.
        """
        expires = self.expires_of(state)
        if state == RETRY:
            self.store_retry(task_id, payload, expires=expires)
        elif self.may_replace(self.read(task_id), state):
            self.store(task_id, payload, expires=expires)

    def store_retry(self, task_id: str, payload: bytes, *, expires: int) -> None:
        """Store the record of a retry, unless the next run has ended.

        Its message has left, so that it may end at any time: a store that can looks
        and stores in one step.
        """
        if self.may_replace(self.read(task_id), RETRY):
            self.store(task_id, payload, expires=expires)

    def expires_of(self, state: str) -> int:
        """Return the seconds that a record of `state` is kept; 0: for ever."""
        return self.failure_expires if state == "FAILURE" else self.expires

    def may_replace(self, stored: bytes | None, state: str) -> bool:
        """Whether a record of `state` comes in the place of what is stored."""
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
            Exception: The store's own; then some may be stored and some not.
        """
        for (task_id, payload, state), request in zip(records, requests, strict=True):
            self.store_encoded(task_id, payload, state, request=request)

    def is_away(self, exc: Exception) -> bool:
        """Whether an error says that the store is away, and may be back soon."""
        cause = exc.__cause__ if isinstance(exc, CelerantError) else exc
        return isinstance(cause, self.connection_errors)

    def read(self, task_id: str) -> bytes | None:
        """Return one record as stored, None where there is none."""
        return self.fetch([task_id])[0]

    def decode(self, payload: Any) -> dict[str, Any]:
        """Return a record's fields; ``{}`` where there is none."""
        if not payload:
            return {}
        decoded = self.codec.decode(payload)
        return decoded if isinstance(decoded, dict) else {}

    def _status(self, payload: bytes) -> Any:
        try:
            return self.decode(payload).get("status")
        except Exception:  # noqa: BLE001 - unreadable: to be replaced
            return None

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong with the way to the store, as the consumer knows it."""
        consumer = self._own.get().consumer
        return None if consumer is None else consumer.trouble

    @property
    def is_calling_back(self) -> bool:
        """Whether this is the thread of the consumer: a `then` callback runs."""
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
        """Return how many members are waited for here; starts no consumer."""
        consumer = self._own.get().consumer
        return 0 if consumer is None else consumer.unfinished()

    def as_uri(self) -> str:
        """Return the URL without its password."""
        uri = masked(self._url)
        # kombu adds a slash to a URL without a host.
        return uri[:-1] if uri.endswith(":///") else uri

    def forget_connections(self) -> None:
        """Close the connections that nobody uses, because one was lost."""

    def close(self) -> None:
        """Stop the consumer and let connections go; usable again."""
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
        """Let go in a forked child what the parent goes on using."""
        if self.consumer is not None:
            self.consumer.leave()
