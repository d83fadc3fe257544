"""A result's control over a group that is fed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from celerant.errors import CelerantError
from celerant.results.cancelling import Cancelled, cancel

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.backends.base import Backend
    from celerant.results.tracking.growth import Growth
    from celerant.results.tracking.members import Members

__all__ = ["FedResult", "Feeding"]


class Feeding(Protocol):
    """Sends the members of a group in the background."""

    @property
    def source_error(self) -> BaseException | None:
        """The error that ended the source early; None if there was none."""

    @property
    def stopped_by(self) -> str | None:
        """What stopped the feeding before the source's end; None if nothing did."""

    def pause(self) -> None:
        """Send no more members until `resume`."""

    def resume(self) -> None:
        """Undo `pause`."""

    def stop(self, why: str) -> None:
        """Send no more members, for good."""

    def announce(self, group_id: str, backend: Backend) -> None:
        """Tell other processes from now on how many members have left.

        Raises:
            Exception: The store's own.
        """


class FedResult:
    """The part of `GroupResult` that controls the sending of its members."""

    __slots__ = ()

    id: str
    members: Members
    #: The feeding in this process; None if the group left at once, or is fed elsewhere.
    feeding: Feeding | None

    @property
    def source_error(self) -> BaseException | None:
        """The error that ended the feeding before the source's end.

        It is the source's own exception, or a `PublishError` if the broker refused.
        None if there was no error. Members that were sent before are not undone. In
        another process it is a `CelerantError` with the text.
        """
        if self.feeding is not None:
            return self.feeding.source_error
        members = self.members
        return members.cut_short if members.stopped_by is None else None

    @property
    def stopped_by(self) -> str | None:
        """What stopped the feeding before the source's end; None if nothing did.

        ``"cancel"`` is `cancel`, and ``"close"`` is the closing of the app.
        """
        feeding = self.feeding
        return self.members.stopped_by if feeding is None else feeding.stopped_by

    def pause(self) -> None:
        """Send no more members until `resume_feeding`; a second call does nothing.

        Once this returns, no member leaves; if another process feeds the group, within
        two seconds. Members in the broker still run.

        Raises:
            CelerantError: The group is not fed: it was sent at once, or it was sent
                whole before its handle was attached.
            Exception: The store's own, if another process feeds the group.
        """
        self._fed().pause()

    def resume_feeding(self) -> None:
        """Go on after `pause` in any process; without a `pause` it does nothing.

        Raises:
            CelerantError, Exception: As by `pause`.
        """
        self._fed().resume()

    def cancel(
        self,
        terminate: bool = False,  # noqa: FBT001, FBT002 - as of `revoke`
        signal: str | int | None = None,
    ) -> Cancelled:
        """Stop the group: no more members leave, and those in queues do not run.

        If the group was sent with ``window=`` or ``cancellable=True``, or from an async
        iterable, one broadcast of constant size tells the workers. Otherwise broadcasts
        name the tasks' ids. Workers are told unless all members have succeeded, have
        failed or never left, so a second call with `terminate` ends what still runs.
        Celerant's workers that start later learn of it from the result store; stock
        workers that are not running now do not.

        Waiters get `TaskRevoked` for each member that is not done at a last read of the
        store. Members that are known to run (``task_track_started``) are still waited
        for, unless they are terminated.

        Args:
            terminate: Whether to end members that run in processes.
            signal: The signal that ends them, by name or number; SIGTERM by default.

        Returns:
            How many members were done, were running, and are cancelled.

        Raises:
            Exception: kombu's own, if the broker is not reachable. No more members
                leave then.
        """
        return cancel(cast("Any", self), terminate=terminate, signal=signal)

    def retry(
        self,
        which: Literal["failed", "missing"] | Iterable[int],
        source: Any = None,
    ) -> Self:
        """Send members again, under the same ids and at the same positions.

        Their stored records are deleted, once the source was checked. The group must
        have been sent with ``window=``, ``canary=``, ``stop_if=`` or
        ``cancellable=True``: only then is it known what its members were sent with.

        Args:
            which: ``"failed"`` for members whose task raised; ``"missing"`` for members
                that were not sent, were cancelled, or whose result expired; or indices.
            source: All members as they were sent, in order; None is the list that was
                sent, if this process sent it.

        Returns:
            This result, which waits for them.

        Raises:
            CanvasError: The group is still being sent. Or a member may still run, is a
                chord, or ends in a group. Or the source is needed, or differs, or ends
                before a chosen member; the error names the first such member. No
                message is sent, and nothing is changed.
            PublishError: The broker refused or vanished.
        """
        this: Any = self
        app = this.app
        app.sender.retry(self, which, source)
        return self

    def _fed(self) -> Feeding | Growth:
        fed = self.members.growth if self.feeding is None else self.feeding
        if fed is None:
            msg = (
                f"group {self.id} is not fed: it was sent at once, or has been sent "
                "whole; send it with apply_async(window=...) to pause it"
            )
            raise CelerantError(msg)
        return fed
