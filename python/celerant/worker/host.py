"""What the worker needs of the app and the tasks it runs; the app hands them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celerant.canvas.request import Request
    from celerant.worker.message import Delivery

__all__ = ["ResultStore", "Runnable", "Source", "WorkerApp"]


class Runnable(Protocol):
    """The part of a task that running it takes."""

    name: str
    #: The methods of its class that are to be called beside it.
    hooks: Any
    run: Any
    throws: Any
    ignore_result: Any
    acks_late: Any
    acks_on_failure: Any
    acks_on_failure_or_timeout: Any
    acks_on_timeout: Any
    reject_on_worker_lost: Any
    retry_on_worker_lost: Any
    send_events: Any
    store_errors_even_if_ignored: Any
    track_started: Any
    time_limit: Any
    soft_time_limit: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body."""
        ...

    def retry_lost(self, request: Request, exc: Any) -> Any:
        """Ask for another run of a task whose process died; None: it has had all."""
        ...


class ResultStore(Protocol):
    """The part of a result backend that storing takes."""

    def encode_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        *,
        request: Request | None = None,
    ) -> bytes:
        """Return the record of a value or an exception; may raise whatever it does."""
        ...

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,
        *,
        request: Request | None = None,
    ) -> None:
        """Store what `encode_result` returned."""
        ...

    def is_away(self, exc: Exception) -> bool:
        """Whether an error of `store_encoded` may be over after a while."""
        ...


class Source(Protocol):
    """The part of a source of messages that remote control reaches."""

    def queues(self) -> list[Any]:
        """Return the queues it takes from."""
        ...

    def add_queue(self, queue: Any) -> None:
        """Take from one more queue (of kombu), soon; raise where it is refused."""
        ...

    def cancel_queue(self, name: str) -> None:
        """Take from a queue no more, soon."""
        ...

    def unstarted(self) -> list[Delivery]:
        """Return what is held and does not run yet."""
        ...

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Give out at once what is held until its eta and meant."""
        ...

    def about(self) -> dict[str, Any]:
        """Return what ``celery inspect stats`` tells of the broker."""
        ...

    def resize(self, slots: int) -> None:
        """Hold messages for this many slots."""
        ...


class WorkerApp(Protocol):
    """The part of an app that a worker calls."""

    @property
    def name(self) -> str:
        """What the app is called."""
        ...

    @property
    def conf(self) -> Any:
        """The settings, as attributes."""
        ...

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Registered tasks by name."""
        ...

    @property
    def queues(self) -> Any:
        """Queues by name; asking for a missing one makes it."""
        ...

    @property
    def backend(self) -> Any:
        """Where results go; None where they go nowhere."""
        ...

    @property
    def child_setup(self) -> Callable[[], None]:
        """What a child process calls to have this app and its tasks; can be pickled."""
        ...

    def connection_for_read(self) -> Any:
        """Return a new broker connection to consume from."""
        ...

    def connection_for_write(self) -> Any:
        """Return a new broker connection to send by."""
        ...
