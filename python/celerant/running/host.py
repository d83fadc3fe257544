"""The task and the result backend, as running a task needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["ResultStore", "Runnable"]


class Runnable(Protocol):
    """The part of a task that running it needs."""

    name: str
    #: The hooks of its class, which are called beside it.
    hooks: Any
    #: Whether its first argument may be the handle of a header's result.
    takes_header: bool
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

    def retry_lost(self, request: Request, exc: Any) -> Any:
        """Ask for another run of a task whose process died; None: it has none left."""


class ResultStore(Protocol):
    """The part of a result backend that storing needs."""

    def encode_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        *,
        request: Request | None = None,
    ) -> bytes:
        """Return the record of a value or an exception; may raise their errors."""

    def store_encoded(
        self,
        task_id: str,
        payload: bytes,
        state: str,
        *,
        request: Request | None = None,
    ) -> None:
        """Store a record of `encode_result`."""

    def is_away(self, exc: Exception) -> bool:
        """Whether an error of `store_encoded` may pass after a while."""
