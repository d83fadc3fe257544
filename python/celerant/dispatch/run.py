"""One dispatch over a carrier, and the fate of each member."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from celerant._core import Barrier, Fate, Plan
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.interruption import is_interruption
from celerant.dispatch.order import Order
from celerant.dispatch.rendering import Renderer
from celerant.dispatch.wires.base import Broken, ConnectionRefused, Dispatch, Doubt
from celerant.errors import ForkError, PublishError
from celerant.errors.report import Intervals, Report, runs_of

__all__ = ["Dispatched", "Run"]


@dataclass(slots=True)
class Dispatched:
    """The result of a dispatch. If not all of it left, `error` is the reason."""

    report: Report
    error: BaseException | None = None
    #: Unknown members that the broker can be asked about; see `find_out`.
    doubts: list[Doubt] = field(default_factory=list)


class Run(ABC):
    """The state of sending one order."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ledger = order.ledger
        self._dispatch = Dispatch(
            order.ledger, order.patience, journal=order.hooks.journal
        )
        self._renderer = Renderer(order.blueprints)
        #: Reads the members.
        self._plan = Plan(order, self._renderer.resolve, self._renderer.resolve_final)
        self._ignored: Intervals = []
        #: Whether something may have left.
        self._started = False
        self._pid = os.getpid()

    def over(self, carriers: Carriers) -> Dispatched:
        """Send the order.

        Returns:
            The barrier, and the report of what was sent. If the broker was lost, or a
            member could not be read after others had left, `error` says so.
        Raises:
            CanvasError, ArgumentError, EncodeError, SettingError: A bad member, and
                nothing has been sent.
        """
        error: BaseException | None = None
        try:
            try:
                with self._held(carriers) as carrier:
                    self._send_all(carrier)
            except ConnectionRefused:
                if not carriers.lends:
                    raise
                with carriers.borrow(self._dispatch) as carrier:
                    self._send_all(carrier)
        except Broken as exc:
            error = self._publish_error(exc)
        except BaseException as exc:
            if not self._started and not is_interruption(exc):
                raise
            error = self._interrupted(exc)
        if error is not None:
            self._count_rest()
        try:
            return self._concluded(error)
        except BaseException as exc:
            if not is_interruption(exc):
                raise
            # What has left is to be told all the same.
            return self._concluded(exc if error is None else error)

    def _held(self, carriers: Carriers) -> AbstractContextManager[Carrier]:
        if self._order.producer is None:
            return carriers.acquire(self._dispatch)
        # The caller's producer, with its connection, channel and batch.
        carrier = Carrier(self._order.producer)
        carrier.begin(self._dispatch)
        return nullcontext(carrier)

    @abstractmethod
    def _send_all(self, carrier: Carrier) -> None:
        """Send everything."""

    @abstractmethod
    def _count_rest(self) -> None:
        """Tell the ledger of the members that an interruption left over."""

    def _failed_at(self) -> str | None:
        """Return the path of the member that could not be read, if there is one."""
        failed_at: str | None = self._plan.failed_at
        return failed_at

    @abstractmethod
    def _path(self, index: int) -> str:
        """Return the path of a member in the canvas."""

    def _refuse_forked(self) -> None:
        if os.getpid() != self._pid:
            msg = (
                f"process {self._pid} was forked while it sent; its child "
                f"{os.getpid()} must not go on with the same connection"
            )
            raise ForkError(msg, created_in_pid=self._pid)

    # -- accounting --------------------------------------------------------------

    def _grow(self, count: int) -> None:
        """Add members to all accounts; called before any of them leaves."""
        self._ledger.grow(count)
        if self._order.tally is not None:
            self._order.tally.grow(count)
        # Last, so that an id known here is known to the others.
        if count > len(self._order.roster):
            self._order.roster.resize(count)

    def _concluded(self, error: BaseException | None) -> Dispatched:
        self._conclude()
        return Dispatched(self._report(), error, self._dispatch.doubts)

    def _conclude(self) -> None:
        """Tell which members will have no result, and that there are no more.

        After an interruption anywhere it can be called again.
        """
        total, tally = len(self._ledger), self._order.tally
        self._order.roster.resize(total)
        if tally is None:
            return
        tally.grow(total)
        for fate in (Fate.REJECTED, Fate.UNSENT):
            for start, stop in self._ledger.intervals(fate):
                tally.settle(range(start, stop), Barrier.NOT_SENT)
        for start, stop in self._ignored:
            tally.settle(range(start, stop), Barrier.IGNORED)
        tally.seal(total)

    def _report(self) -> Report:
        return Report(self._ledger, runs_of(self._dispatch.maybe_double))

    def _publish_error(self, exc: Broken) -> PublishError:
        path, message = "", str(exc)
        if exc.index is not None:
            path = self._path(exc.index)
        elif not exc.recoverable:
            # Its queue or exchange was refused while the member was read.
            path = self._failed_at() or ""
        if path:
            message = f"{path}: {message}"
        error = PublishError(message, recoverable=exc.recoverable, path=path)
        error.__cause__ = exc.__cause__
        return error

    def _interrupted(self, exc: BaseException) -> BaseException:
        if is_interruption(exc):
            return exc
        path = getattr(exc, "path", "")
        message = f"sending stopped: {exc}"
        failed_at = self._failed_at()
        if not path and failed_at is not None:
            # The source raised, and it knows no paths.
            path = failed_at
            message = f"sending stopped at {path}: {exc}"
        error = PublishError(message, recoverable=False, path=path)
        error.__cause__ = exc
        return error
