"""A group that is fed by and by, as its result sees that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from celerant.errors import CelerantError
from celerant.results.cancelling import Cancelled, cancel

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FedResult", "Feeding"]


class Feeding(Protocol):
    """Sends the members of a group in the background."""

    @property
    def source_error(self) -> BaseException | None:
        """Why the source was not read to its end, if something was raised."""

    @property
    def stopped_by(self) -> str | None:
        """What stopped it before its source was at its end."""

    def pause(self) -> None:
        """Let nothing more leave for now."""

    def resume(self) -> None:
        """Undo `pause`."""

    def stop(self, why: str) -> None:
        """Let nothing more leave, for good."""


class FedResult:
    """The part of `GroupResult` that is about the way out."""

    __slots__ = ()

    id: str
    #: What feeds it here; None: it left at once, or elsewhere.
    feeding: Feeding | None

    @property
    def source_error(self) -> BaseException | None:
        """What ended the feeding of a group before its source was at its end.

        What the source raised, as it is; a `PublishError` if the broker refused. None
        while all goes well. What was sent before stays.
        """
        return None if self.feeding is None else self.feeding.source_error

    @property
    def stopped_by(self) -> str | None:
        """What stopped the feeding before the source was at its end; None: nothing.

        ``"cancel"``: `cancel`. ``"close"``: the app was closed.
        """
        return None if self.feeding is None else self.feeding.stopped_by

    def pause(self) -> None:
        """Let no more members leave until `resume_feeding`; again does nothing.

        Once this returns, nothing leaves. What is in the broker already runs.

        Raises:
            CelerantError: The group is not fed from here.
        """
        self._fed().pause()

    def resume_feeding(self) -> None:
        """Go on after `pause`; without one it does nothing.

        Raises:
            CelerantError: The group is not fed from here.
        """
        self._fed().resume()

    def cancel(
        self,
        terminate: bool = False,  # noqa: FBT001, FBT002 - as of `revoke`
        signal: str | int | None = None,
    ) -> Cancelled:
        """Stop it: no more members leave, and those that wait in queues do not run.

        One broadcast of constant size tells the workers, if the group was sent with
        ``window=`` or ``cancellable=True``; else its ids do. Workers of this
        library that start later learn of it from the result store; stock workers that
        are not there now do not.

        Whoever waits gets `TaskRevoked` for each member that is not done by a last
        look at the store. Those that are known to run (``task_track_started``) keep
        their places, unless they are terminated.

        Args:
            terminate: Also end those that run in processes.
            signal: What ends them, by name or number; SIGTERM by default.
        Returns:
            What is known: how many were done, run, and are cancelled.
        Raises:
            Exception: kombu's: the broker is not reached. Nothing more leaves by then.
        """
        return cancel(cast("Any", self), terminate=terminate, signal=signal)

    def retry(
        self,
        which: Literal["failed", "missing"] | Iterable[int],
        source: Any = None,
    ) -> Self:
        """Send members once more: under the same ids, into the same places.

        What is stored of them is deleted first. The group must be one that was sent
        with ``window=``, ``canary=``, ``stop_if=`` or ``cancellable=True``: of such a
        group is known what its members were sent with.

        Args:
            which: ``"failed"``: those whose task raised; ``"missing"``: those that
                were not sent, were cancelled, or whose result expired; or indices.
            source: All members as they were sent, in order; None: the list that was
                sent, if it was sent here.
        Returns:
            This result, which waits for them.
        Raises:
            CanvasError: The group is still being sent; a member may run still, is a
                chord, or ends in a group; the source is needed, or is another, of
                which the first member that differs is named. Nothing is sent.
            PublishError: The broker refused or vanished.
        """
        this: Any = self
        app = this.app
        app.sender.retry(self, which, source)
        return self

    def _fed(self) -> Feeding:
        if self.feeding is None:
            msg = (
                f"group {self.id} is not fed from here: it left at once, or another "
                "process feeds it; send it with apply_async(window=...) to pause it"
            )
            raise CelerantError(msg)
        return self.feeding
